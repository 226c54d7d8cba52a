"""The page as its users meet it: headless Chromium with a WAV for a microphone, on a desk and on a telephone."""

import json
import time

import numpy as np
import pytest
import soundfile
from axe import violations
from listening_browser import EXECUTABLE
from packages import RATE, package
from processes import wait_for
from waveforms import tone
from web_browser import WebBrowser
from web_server import clip, decoded, encoded, running_server

from overtone.enhancer import Enhancer
from overtone.model_package import load_model

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
SIZES = {"desk": {"width": 1280, "height": 900}, "telephone": {"width": 390, "height": 844}}
PITCH = 1000
LONG_SECONDS = 20.0  # a busy machine takes its time between two keys


@pytest.fixture(scope="module")
def server():
    with running_server(workers=2) as running:
        yield running


@pytest.fixture(scope="module", params=SIZES)
def browser(request, server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    microphone = folder / "microphone.wav"
    soundfile.write(microphone, 0.3 * tone(PITCH, RATE, 4.0), RATE, subtype="PCM_16")
    with WebBrowser(microphone, folder / "downloads", **SIZES[request.param]) as opened:
        opened.folder = folder
        yield opened


@pytest.fixture
def page(browser, server):
    browser.visit(server.address)
    yield browser
    assert browser.errors == []
    assert browser.complaints == []
    assert browser.hosts <= {f"127.0.0.1:{server.port}", ""}  # "" is a blob: of the page's own
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")


def shown(page, selector):
    return page.run(f"(() => {{ const one = document.querySelector({selector!r}); return one.checkVisibility(); }})()")


def wait_shown(page, selector):
    page.wait(f"document.querySelector({selector!r}).checkVisibility()")


def predicted(page):
    page.wait("!document.querySelector('#predict').disabled")
    page.click("#predict")
    wait_shown(page, "#figures")


def loudest_frequency(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * rate / len(samples)


def test_from_the_microphone_to_the_download_and_anew(page):
    assert page.run("document.querySelector('#predict').disabled")
    page.click("#record")
    page.wait("document.querySelector('#record-label').textContent === 'Stop'")
    page.wait("parseFloat(document.querySelector('#clock').textContent.slice(2)) > 0.9")
    page.wait("document.querySelector('#level').value > -30")
    page.click("#record")
    predicted(page)
    assert "Enhanced" in page.text("#status")
    assert "real time" in page.text("#factor")

    page.click("#download")
    wait_for(lambda: list((page.folder / "downloads").glob("recording-*-enhanced.wav")))
    file = next((page.folder / "downloads").glob("recording-*-enhanced.wav"))
    wait_for(lambda: file.stat().st_size > 100_000)
    heard, rate = soundfile.read(file)
    file.unlink()
    assert rate == RATE
    assert 0.8 < len(heard) / rate < 60
    assert loudest_frequency(heard[len(heard) // 2 :], rate) == pytest.approx(PITCH, abs=5)

    page.click("#refresh")
    assert not shown(page, "#comparison")
    assert page.run("document.querySelector('#predict').disabled")
    assert page.text("#clock") == "0:00.0"
    assert page.run("document.activeElement.id") == "record"


def test_a_dropped_file_is_compared_at_the_same_position(page, tmp_path):
    path = tmp_path / "old tape.flac"
    path.write_bytes(encoded(clip(LONG_SECONDS, 22050, channels=2), 22050, "FLAC"))
    page.drop(path)
    predicted(page)
    assert "old tape.flac" in page.run("document.querySelector('#download').download").replace("-enhanced.wav", ".flac")
    assert page.run("document.querySelector('[name=heard]:checked').value") == "enhanced"
    page.click("#play")
    page.wait("document.querySelector('#position').textContent > '0:00.3'")
    page.run("document.activeElement.blur()")
    began = time.monotonic()
    page.key("a")
    before = position(page)
    assert page.run("document.querySelector('[name=heard]:checked').value") == "original"
    page.key("b")
    after = position(page)
    assert page.run("document.querySelector('[name=heard]:checked').value") == "enhanced"
    assert before <= after < before + time.monotonic() - began + 0.2  # both are rounded to 0.1
    page.key(" ")
    assert page.text("#play") == "Play"
    page.run("document.querySelector('.picture canvas').scrollIntoView({block: 'center'})")
    page.click(".picture canvas")  # its middle
    middle = page.run(
        "(() => { const box = document.querySelector('.picture canvas').getBoundingClientRect();"
        "return box.x + box.width / 2; })()"
    )
    there = position(page)
    cursors = page.run("[...document.querySelectorAll('.cursor')].map((one) => one.getBoundingClientRect().x)")
    assert cursors == pytest.approx([middle, middle], abs=1.5)
    assert 0.37 < there / LONG_SECONDS < 0.53
    page.key("ArrowRight")
    assert position(page) == pytest.approx(there + 1.0, abs=0.11)


def tab_to(page, selector):
    """Press Tab until an element has the focus."""
    for _ in range(40):
        if page.run(f"document.activeElement.matches({selector!r})"):
            return
        page.key("Tab")
    raise AssertionError(f"Tab never comes to {selector}")


def test_by_keyboard_alone_from_the_microphone_to_both_versions(page):
    tab_to(page, "#record")
    page.key("Enter")
    page.wait("document.querySelector('#record-label').textContent === 'Stop'")
    page.wait("parseFloat(document.querySelector('#clock').textContent.slice(2)) > 8")  # longer than what follows takes
    page.key("Enter")
    page.wait("!document.querySelector('#predict').disabled")
    assert page.run("document.activeElement.id") == "record"
    tab_to(page, "#predict")
    page.key("Enter")
    wait_shown(page, "#figures")
    assert page.run("document.activeElement.id") == "play"
    page.run("document.querySelector('[value=enhanced]').focus()")
    page.key("a")
    page.key(" ")
    page.wait("document.querySelector('#play').textContent === 'Pause'")
    page.key(" ")
    assert page.text("#play") == "Play"
    assert page.run("document.querySelector('[name=heard]:checked').value") == "original"


def test_by_keyboard_alone_from_loading_to_a_saved_file(page):
    tab_to(page, "#sample")
    page.key("Enter")
    page.wait("!document.querySelector('#predict').disabled")
    tab_to(page, "#predict")
    page.key("Enter")
    wait_shown(page, "#figures")
    tab_to(page, "#download")
    page.key("Enter")
    saved = page.folder / "downloads" / "sample-enhanced.wav"
    wait_for(lambda: saved.is_file() and saved.stat().st_size > 100_000)
    assert soundfile.info(saved).duration > 1
    saved.unlink()


def test_the_sample_is_enhanced_at_a_press_and_the_player_is_in_sight(page):
    page.click("#sample")
    predicted(page)
    assert page.text("#name") == "sample.flac"
    page.wait("document.querySelector('#play').getBoundingClientRect().bottom <= innerHeight")
    assert page.run("document.querySelector('#play').getBoundingClientRect().top >= 0")


def position(page):
    return float(page.text("#position").split("/")[0].strip()[2:])


def test_what_fails_is_said_and_goes_away(page, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("no sound at all " * 30)
    page.choose(path)
    wait_shown(page, "#problem")
    assert "not audio that the server or this browser can read" in page.text("#problem")
    page.complaints = [one for one in page.complaints if "415" not in one]  # the console lists the refusal itself
    path.write_bytes(encoded(clip(0.3)))
    page.choose(path)
    page.wait("!document.querySelector('#predict').disabled")
    assert not shown(page, "#problem")


def test_live_one_hears_the_microphone_enhanced(page):
    page.click("#tab-live")
    page.click("#live")
    page.wait("document.querySelector('#live-status').textContent.startsWith('Live')")
    page.wait("document.querySelector('#live-band').textContent.includes('kHz')")
    page.wait("document.querySelector('#live-out').value > -40")
    latency = Enhancer(load_model(package())).stream(RATE).latency_seconds
    assert float(page.text("#live-latency").split()[0]) == pytest.approx(1000 * latency, abs=0.1)
    assert page.text("#live-total").endswith("ms")
    page.click("#live")
    page.wait("document.querySelector('#live-label').textContent === 'Start'")
    assert not shown(page, "#live-problem")


def test_pictures_show_a_tone_where_it_is_and_wav_files_keep_every_sample(page):
    levels = page.run(
        "import('/static/spectrogram.js').then(async ({ picture, ROWS }) => {"
        " const tone = Float32Array.from({ length: 48000 }, (_, n) => 0.5 * Math.sin(2 * Math.PI * 9000 * n / 48000));"
        " const { levels, loudest, columns } = await picture(tone, 100);"
        " const middle = [...levels.slice(50 * ROWS, 51 * ROWS)];"
        " return [middle.indexOf(Math.max(...middle)) / ROWS * 24000, loudest, columns]; })"
    )
    assert levels[0] == pytest.approx(9000, abs=50)
    assert levels[1] == pytest.approx(20 * np.log10(0.5), abs=0.2)
    data = page.run(
        "import('/static/wav.js').then(async ({ wav }) => {"
        " const blob = wav([new Float32Array([0.5, -1.25, 1e-7]), new Float32Array([1, 2, 3])], 44100);"
        " return [...new Uint8Array(await blob.arrayBuffer())]; })"
    )
    samples, rate = decoded(bytes(data))
    assert rate == 44100
    assert samples.T.tolist() == [[0.5, -1.25, np.float32(1e-7)], [1, 2, 3]]


def test_everything_that_is_used_has_a_name(page):
    """Each control says to a screen reader what it is."""
    nameless = page.run(
        "[...document.querySelectorAll('button, input, meter, a, canvas[role], progress')].filter((one) =>"
        " !(one.getAttribute('aria-label') || one.innerText || one.textContent.trim()"
        " || (one.labels && one.labels.length) || one.closest('.picture'))).map((one) => one.outerHTML)"
    )
    assert nameless == []


def test_axe_finds_nothing_before_and_after_enhancing_and_live(page):
    assert violations(page) == []
    page.click("#sample")
    predicted(page)
    assert violations(page) == []
    page.click("#tab-live")
    assert violations(page) == []


def test_on_a_telephone_everything_can_be_hit_and_nothing_is_cut_off(page):
    """WCAG 2.2, success criterion 2.5.8: targets of at least 24 pixels."""
    page.click("#sample")
    predicted(page)
    small = page.run(
        "[...document.querySelectorAll('button, .button, .switch, .choice label, input[type=range]')]"
        ".filter((one) => one.checkVisibility()).map((one) => [one.outerHTML, one.getBoundingClientRect()])"
        ".filter(([, box]) => box.height < 40 || box.width < 24 || box.left < 0 || box.right > innerWidth)"
        ".map(([html]) => html)"
    )
    assert small == []


def test_what_the_server_refuses_is_refused_before_it_is_drawn_and_in_its_words(page, server, tmp_path):
    path = tmp_path / "surround.wav"
    path.write_bytes(encoded(clip(0.3, channels=6)))
    page.choose(path)
    wait_shown(page, "#problem")
    status, _, body = server.enhance(path.read_bytes())
    assert status == 422
    assert page.text("#problem") == json.loads(body)["error"]
    assert not shown(page, "#comparison")
    page.complaints = [one for one in page.complaints if "422" not in one]  # the console lists the refusal itself


def test_a_truncated_file_is_rescued_and_the_page_says_what_is_missing(page, tmp_path):
    path = tmp_path / "cut.wav"
    path.write_bytes(encoded(clip(3.0), subtype="PCM_16")[:48044])
    page.choose(path)
    page.wait("!document.querySelector('#predict').disabled")
    assert "It ends 1.5 s before its stated end." in page.text("#status")
    predicted(page)
    assert "The recording ends 1.5 s before its stated end." in page.text("#status")


def test_on_another_machine_s_address_the_page_says_how_to_get_a_microphone(server, tmp_path):
    with WebBrowser(None, tmp_path, **SIZES["telephone"]) as page:
        page._call(
            "Page.addScriptToEvaluateOnNewDocument",
            source="Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"
            "Object.defineProperty(window, 'isSecureContext', { value: false });",
        )
        page.visit(server.address)
        page.click("#record")
        wait_shown(page, "#problem")
        words = page.text("#problem")
        assert f"and this is {server.address.rstrip('/')}" in words
        assert f"ssh -N -L 8000:127.0.0.1:{server.port} 127.0.0.1" in words and "HTTPS" in words


def test_without_permission_the_page_says_what_to_do(server, tmp_path):
    with WebBrowser(None, tmp_path, **SIZES["desk"]) as page:
        page._call("Browser.setPermission", permission={"name": "microphone"}, setting="denied")
        page.visit(server.address)
        page.click("#record")
        wait_shown(page, "#problem")
        assert "Allow it" in page.text("#problem")
        assert page.text("#record-label") == "Record"


def test_while_the_server_is_gone_the_page_says_so(tmp_path):
    path = tmp_path / "speech.wav"
    path.write_bytes(encoded(clip(0.3)))
    with WebBrowser(None, tmp_path, **SIZES["desk"]) as page:
        with running_server() as server:
            page.visit(server.address)
            page.choose(path)
            page.wait("!document.querySelector('#predict').disabled")
        for pressed in ("#predict", "#sample"):
            page.click(pressed)
            wait_shown(page, "#problem")
            assert page.text("#problem").startswith("The server does not answer. See whether `overtone serve`")
            page.run("document.querySelector('#problem').hidden = true")
        assert not page.run("document.querySelector('#predict').disabled")


def test_a_live_stream_whose_server_goes_away_says_so_and_a_recording_is_kept(tmp_path):
    microphone = tmp_path / "microphone.wav"
    soundfile.write(microphone, 0.3 * tone(PITCH, RATE, 4.0), RATE, subtype="PCM_16")
    with WebBrowser(microphone, tmp_path, **SIZES["desk"]) as page:
        with running_server() as server:
            page.visit(server.address)
            page.click("#tab-live")
            page.click("#live")
            page.wait("document.querySelector('#live-status').textContent.startsWith('Live')")
            page.click("#live")
            page.click("#tab-clip")
            page.click("#record")
            page.wait("parseFloat(document.querySelector('#clock').textContent.slice(2)) > 0.3")
        page.click("#record")
        page.wait("!document.querySelector('#predict').disabled")
        assert shown(page, "#comparison")
        page.click("#tab-live")
        page.click("#live")
        wait_shown(page, "#live-problem")
        assert page.text("#live-problem").startswith("The server does not answer.")
