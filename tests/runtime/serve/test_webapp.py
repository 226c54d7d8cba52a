"""What the page's server answers equals what the runtime does, for files, for users at the same time, and live."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse

import numpy as np
import pytest
from packages import RATE, package
from processes import PATIENCE, wait_for
from web_server import clip, decoded, encoded, running_server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from overtone.audio_files.recordings import Recording
from overtone.audio_files.wave_pipes import RAW_FORMS
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import load_model
from overtone.serve.application import INTERFACE, create_app
from overtone.serve.enhancement import Enhancement
from overtone.serve.limits import Limits
from overtone.serve.serve import serve

USERS = 8
STEP_24_BITS = 2.0**-22


@pytest.fixture(scope="module")
def client():
    return create_app(Enhancement(package(), Limits())).test_client()


@pytest.fixture(scope="module")
def server():
    with running_server(streams=2, idle_seconds=PATIENCE, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def enhancer():
    return Enhancer(load_model(package()))


def stream(server, query="", **options):
    return connect(f"ws://127.0.0.1:{server.port}/api/stream{query}", **options)


@pytest.mark.parametrize(("sample_rate", "channels"), [(8000, 1), (44100, 2), (48000, 1)])
def test_a_file_is_answered_as_the_runtime_enhances_it(client, enhancer, sample_rate, channels):
    samples = clip(0.4, sample_rate, channels=channels)
    wav = encoded(samples, sample_rate, subtype="FLOAT")
    answer = client.post("/api/enhance", data=wav, content_type="application/octet-stream")
    heard, rate = decoded(answer.data)
    expected, _ = enhancer.enhance(samples, sample_rate)
    gain = 10 ** (float(answer.headers["X-Overtone-Gain-dB"]) / 20)
    assert answer.status_code == 200
    assert rate == RATE
    assert heard.shape == expected.shape
    assert gain == 1.0
    assert np.abs(heard - expected).max() <= STEP_24_BITS
    assert float(answer.headers["X-Overtone-Audio-Seconds"]) == pytest.approx(0.4)
    assert float(answer.headers["X-Overtone-Processing-Seconds"]) > 0
    assert int(answer.headers["X-Overtone-Latency-Samples"]) == enhancer.stream(RATE).latency_samples


def test_denoising_and_another_rate_are_the_runtimes(client, enhancer):
    samples = clip(0.3)
    wav = encoded(samples, subtype="FLOAT")
    denoised, rate = decoded(client.post("/api/enhance?denoise=1&rate=22050", data=wav).data)
    expected, _ = Enhancer(enhancer.model, denoise=True).enhance(samples, 16000, 22050)
    assert rate == 22050
    assert np.abs(denoised - expected).max() <= STEP_24_BITS


def test_what_would_clip_is_made_quieter_as_a_whole_and_says_so(client, enhancer):
    samples = 8 * clip(0.3)
    answer = client.post("/api/enhance", data=encoded(samples, subtype="FLOAT"))
    heard, _ = decoded(answer.data)
    expected, _ = enhancer.enhance(samples, 16000)
    decibels = float(answer.headers["X-Overtone-Gain-dB"])
    assert decibels < -0.1
    assert np.abs(heard).max() < 1.0
    assert heard == pytest.approx(expected / np.abs(expected).max(), abs=1e-5)
    assert 10 ** (decibels / 20) * np.abs(expected).max() == pytest.approx(1.0, abs=2e-3)


def test_an_upload_is_decoded_as_it_is(client):
    samples = clip(0.3, 11025, channels=2)
    heard, rate = decoded(client.post("/api/decode", data=encoded(samples, 11025, "FLAC")).data)
    assert rate == 11025
    assert np.abs(heard - samples).max() < 2.0**-14


@pytest.mark.parametrize("address", ["/api/enhance", "/api/decode"])
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_an_upload_is_read_as_enhance_reads_a_file(client, address, kind):
    """Joined files to the last, a damaged one as far as it goes, and what is missing is said in the same words."""
    data = encoded(clip(2.0), kind=kind)
    for upload in (data, data + data, data[: round(0.7 * len(data))]):
        with Recording(upload, "x") as recording:
            samples = np.concatenate(list(recording.blocks(16000)))
        answer = client.post(address, data=upload)
        heard, rate = decoded(answer.data)
        assert answer.status_code == 200
        assert len(heard) == round(len(samples) * rate / 16000)
        assert answer.headers.get("X-Overtone-Loss", "") == recording.loss


def test_a_failure_of_the_server_is_answered_in_json(client, monkeypatch):
    def fail(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(Enhancement, "decode", fail)
    answer = client.post("/api/decode", data=b"audio")
    assert answer.status_code == 500
    assert answer.json == {"error": "Internal Server Error: POST /api/decode. See /api."}


def test_the_interface_describes_every_address(client):
    described = set(client.get("/api").json)
    rules = {
        f"{method} {rule.rule}"
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api")
    }
    assert described == rules | {"WS /api/stream"} == set(INTERFACE)
    assert client.get("/api/health").json["status"] == "ok"
    assert client.get("/api/model").json["sample_rate"] == RATE


def test_the_page_holds_no_inline_code_and_names_no_other_host(client):
    page = client.get("/").text
    assert "style=" not in page
    assert " on" + "click=" not in page
    assert "http://" not in page
    assert "https://" not in page
    for asset in {part.split('"')[0] for part in page.split('="/static/')[1:]}:
        assert client.get(f"/static/{asset}").status_code == 200


def test_users_at_the_same_time_get_their_own_answers(server, enhancer):
    answers = {}

    def use(user):
        samples = clip(1.0 + 0.1 * user, seed=user)
        answers[user] = samples, server.enhance(encoded(samples, subtype="FLOAT"))

    users = [threading.Thread(target=use, args=(user,)) for user in range(USERS)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    for samples, (status, _, data) in answers.values():
        assert status == 200
        assert np.abs(decoded(data)[0] - enhancer.enhance(samples, 16000)[0]).max() <= STEP_24_BITS
    assert len(answers) == USERS


@pytest.mark.parametrize(("rate", "channels"), [(48000, 1), (16000, 2)])
def test_a_live_stream_gives_what_the_runtimes_does(server, enhancer, rate, channels):
    samples = clip(1.3, rate, channels=channels)
    expected = enhancer.stream(rate, channels, rate)
    wanted = np.concatenate([expected.push(samples), expected.flush().reshape(-1, channels)])
    sizes = np.random.default_rng(0).integers(1, rate // 20, 400)
    heard, bands = [], []
    with stream(server, f"?rate={rate}&channels={channels}") as socket_:
        facts = json.loads(socket_.recv())
        for block in np.split(samples, np.cumsum(sizes)[np.cumsum(sizes) < len(samples)]):
            socket_.send(block.astype("<f4").tobytes())
            heard.append(received(socket_, channels, bands))
            assert len(heard[-1]) == len(block)
        socket_.send("end")
        heard.append(received(socket_, channels, bands))
        with pytest.raises(ConnectionClosed):
            socket_.recv()
    assert facts["latency_samples"] == expected.latency_samples
    assert np.abs(np.concatenate(heard) - wanted).max() <= 1e-6
    assert bands == [] or len(bands[0]) == channels


def received(socket_, channels, bands):
    while isinstance(message := socket_.recv(), str):
        bands.append(json.loads(message)["bandwidth_hz"])
    return np.frombuffer(message, "<f4").reshape(-1, channels)


def test_a_live_stream_of_integers(server, enhancer):
    samples = np.rint(clip(0.2, RATE)[:, 0] * 32768).astype("<i2")
    expected = enhancer.stream(RATE).push(samples)
    with stream(server, "?format=int16") as socket_:
        socket_.recv()
        socket_.send(samples.tobytes())
        heard = np.frombuffer(socket_.recv(), "<i2")
    assert np.abs(heard / 32768 - expected).max() <= 0.51 / 32768


@pytest.mark.parametrize("name", ["mulaw", "alaw", "u8"])
def test_a_telephones_frames_come_back_as_wideband_speech(server, enhancer, name):
    """Frames of 20 ms in telephony's own 8 bits, as pipes decode them."""
    data = encoded(clip(0.5, 8000), 8000, "RAW", {"mulaw": "ULAW", "alaw": "ALAW", "u8": "PCM_U8"}[name])
    expected = enhancer.stream(8000, 1, 16000)
    heard = []
    with stream(server, f"?format={name}&rate=8000&output_rate=16000") as socket_:
        assert json.loads(socket_.recv())["latency_samples"] == expected.latency_samples
        for start in range(0, len(data), 160):
            socket_.send(data[start : start + 160])
            heard.append(np.frombuffer(socket_.recv(), "<i2") / 32768)
            assert len(heard[-1]) == 320
    wanted = expected.push(RAW_FORMS[name].decoded(data))
    assert np.abs(np.concatenate(heard) - wanted).max() <= 0.51 / 32768


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_live_stream_goes_on_after_a_bad_block(server, enhancer, value):
    samples = clip(0.6, RATE)
    bad = samples.copy()
    bad[9600:9605], samples[9600:9605] = value, 0
    with stream(server) as socket_:
        socket_.recv()
        heard = []
        for number, block in enumerate(np.split(bad, 6)):
            socket_.send(block.tobytes())
            if number == 2:
                assert "Sample 9600 is" in json.loads(socket_.recv())["warning"]
            heard.append(received(socket_, 1, []))
    assert np.abs(np.concatenate(heard) - enhancer.stream(RATE).push(samples)).max() <= 1e-6


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"\0\0\0", "whole frames of 4 bytes"),
        ("stop", "the text 'end'"),
    ],
)
def test_a_live_stream_ends_with_a_sentence(server, sent, message):
    with stream(server) as socket_:
        socket_.recv()
        socket_.send(sent)
        assert message in json.loads(socket_.recv())["error"]
        with pytest.raises(ConnectionClosed):
            socket_.recv()


def test_a_live_stream_of_which_nothing_comes_ends_with_a_sentence():
    with running_server(idle_seconds=1.0) as server, stream(server) as socket_:
        socket_.recv()
        assert "Nothing came for 1 seconds" in json.loads(socket_.recv())["error"]
        with pytest.raises(ConnectionClosed):
            socket_.recv()


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?rate=1", {}, 400),
        ("?channels=9", {}, 400),
        ("?channels=000000002999", {}, 400),
        (f"?rate={'9' * 5000}", {}, 400),
        ("?rate=", {}, 400),
        ("?rate=1&rate=8000", {}, 400),
        ("?format=mp3", {}, 400),
        ("?format=mulaw&rate=8000&output_rate=99999999", {}, 400),
        ("/other", {}, 404),
        ("", {"Origin": "http://evil.example"}, 403),
        ("", {"Origin": "http://["}, 403),
    ],
)
def test_a_live_stream_is_refused(server, query, headers, status):
    with pytest.raises(InvalidStatus) as refused, stream(server, query, additional_headers=headers):
        pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["error"]


def test_a_message_of_much_sound_is_refused(server):
    """Its answer at another rate would be many times as large."""
    with stream(server, "?format=u8&rate=8000&output_rate=192000") as socket_:
        socket_.recv()
        socket_.send(bytes(80001))
        assert "holds at most 10 s of sound; one of 10.0 s came" in json.loads(socket_.recv())["error"]


def test_live_streams_are_limited_and_make_room_again(server):
    with stream(server), stream(server), pytest.raises(InvalidStatus) as refused, stream(server):
        pass
    assert refused.value.response.status_code == 503

    def has_room():
        try:
            with stream(server):
                return True
        except InvalidStatus:
            return False

    wait_for(has_room)


def test_a_message_that_is_too_large_ends_the_stream_only(server):
    with stream(server, max_size=None) as socket_:
        socket_.recv()
        with pytest.raises(ConnectionClosed):
            socket_.send(bytes(1 << 22))
            while True:
                socket_.recv()
    assert server.request("GET", "/api/health")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_stops_quietly(number):
    with running_server() as server:
        assert server.request("GET", "/")[0] == 200
        server.process.send_signal(number)
        assert server.process.wait(PATIENCE) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


def test_a_taken_port_and_a_missing_model_are_said_in_a_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OvertoneError, match=r"Choose another --port"):
        serve(package(), port=taken.getsockname()[1])
    with pytest.raises(OvertoneError, match="nowhere"):
        serve(tmp_path / "nowhere", port=0)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("", 0, "--host: is empty"),
        ("[", 0, "'\\['"),
        ("\udcff", 0, "udcff"),
        ("::g", 0, "::g"),
        ("127.0.0.1", 70000, "70000"),
    ],
)
def test_what_is_no_address_to_listen_on_is_said_in_a_line(host, port, said):
    with pytest.raises(OvertoneError, match=said) as refused:
        serve(package(), host, port)
    assert "\n" not in str(refused.value)


def test_serving_others_is_warned_of():
    code = (
        "import sys; from pathlib import Path; from overtone.serve.serve import serve\n"
        "serve(Path(sys.argv[1]), '0.0.0.0', 0, announce=lambda line: print(line, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(package())], stdout=subprocess.PIPE, text=True)
    try:
        address, warning = process.stdout.readline(), process.stdout.readline()
        port = urllib.parse.urlsplit(address.split()[1]).port
        assert warning.startswith("Warning: everyone who reaches 0.0.0.0")
        with socket.create_connection(("127.0.0.1", port)) as user:
            user.sendall(b"GET /api/health HTTP/1.1\r\nHost: speech.example\r\nConnection: close\r\n\r\n")
            assert user.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()


def test_serving_loads_no_torch_and_switches_reports_off():
    code = (
        "import overtone.serve.serve, os, sys; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'mlflow', 'librosa', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
