"""`overtone enhance`: the runtime's own samples by any way in, formats and tags, processes, interruption."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from enhance_cases import speech, write
from packages import package
from processes import PATIENCE, wait_for

from overtone.audio_files import file_enhancement
from overtone.audio_files.file_enhancement import HIGHEST_PEAK, enhance_file
from overtone.audio_files.output_forms import LARGEST_WAV, OutputForm, output_form, output_suffix
from overtone.audio_files.recording_writer import write_recording
from overtone.audio_files.recordings import TAGS, Recording
from overtone.cli.main import main
from overtone.enhance.plan import plan_files
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.limiter import KNEE, softly_limited
from overtone.model_package import load_model

COMMAND = [sys.executable, "-m", "overtone.cli.main", "enhance"]
STEP = 2**-15


@pytest.fixture(scope="module")
def enhancer():
    return Enhancer(load_model(package()))


def run(*arguments):
    return main(["enhance", *map(str, arguments), "--model", str(package()), "--jobs", "1"])


def read(path):
    return soundfile.read(path, dtype="float32", always_2d=True)


# What comes out


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_a_file_is_enhanced_as_the_runtime_enhances_its_samples(rate, enhancer, tmp_path):
    samples = speech(1.3, rate, channels=2)
    source = write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    enhance_file(enhancer, source, tmp_path / "b.wav")
    enhanced, out_rate = read(tmp_path / "b.wav")
    expected, _ = enhancer.enhance(samples, rate)
    assert out_rate == 48000
    assert enhanced.shape == expected.shape == (round(1.3 * 48000), 2)
    np.testing.assert_allclose(enhanced, expected, atol=1e-6)


def test_blocks_of_10_ms_and_a_held_file_on_disk_change_nothing(enhancer, tmp_path, monkeypatch):
    source = write(tmp_path / "a.wav", speech(2.0), subtype="FLOAT")
    enhance_file(enhancer, source, tmp_path / "whole.wav")
    monkeypatch.setattr(file_enhancement, "HELD_BYTES", 1000)
    monkeypatch.setattr(file_enhancement, "FRAMES_AT_ONCE", 999)
    done = enhance_file(enhancer, source, tmp_path / "stream.wav", block_seconds=0.01)
    assert len(done.block_seconds) == 200
    np.testing.assert_allclose(read(tmp_path / "stream.wav")[0], read(tmp_path / "whole.wav")[0], atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "whole.wav", "stream.wav"}


def test_stream_says_how_late_and_how_fast(tmp_path, capsys):
    source = write(tmp_path / "a.wav")
    assert run(source, "--out", tmp_path / "b.wav", "--stream") == 0
    assert "Stream: latency " in capsys.readouterr().out


def test_progress_counts_all_seconds(enhancer, tmp_path):
    told = []
    enhance_file(enhancer, write(tmp_path / "a.wav", speech(2.5)), tmp_path / "b.wav", advance=told.append)
    assert told == [1.0, 1.0, 0.5]


def test_peaks_are_scaled_once_where_they_would_clip_and_kept_where_they_would_not(tmp_path):
    enhancer = Enhancer(load_model(package()), denoise=True)
    square = np.sign(speech(1.0)).astype(np.float32)
    source = write(tmp_path / "a.wav", square, subtype="FLOAT")
    kept = enhance_file(enhancer, source, tmp_path / "float.wav")
    beyond, _ = read(tmp_path / "float.wav")
    assert np.abs(beyond).max() > 1 and kept.gain_db == 0
    scaled = enhance_file(enhancer, source, tmp_path / "b.flac")
    assert scaled.gain_db == pytest.approx(20 * np.log10(HIGHEST_PEAK / np.abs(beyond).max()), abs=1e-4)
    np.testing.assert_allclose(read(tmp_path / "b.flac")[0], beyond * 10 ** (scaled.gain_db / 20), atol=2**-22)


def test_the_limiter_is_smooth_and_leaves_quiet_samples_alone():
    ramp = np.linspace(-4, 4, 80001, dtype=np.float32)
    bent = softly_limited(ramp)
    quiet = np.abs(ramp) <= KNEE
    np.testing.assert_array_equal(bent[quiet], ramp[quiet])
    assert np.abs(bent).max() <= 1
    slope = np.diff(bent) / np.diff(ramp)
    assert slope.min() >= 0 and np.abs(np.diff(slope)).max() < 0.01


# Formats and tags


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        (container, subtype)
        for container in ("WAV", "AIFF", "CAF", "FLAC")
        for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")
        if soundfile.check_format(container, subtype)
    ],
)
def test_what_was_read_is_written_unchanged(container, subtype, tmp_path):
    """Neither a bit is lost, nor is anything scaled by 32767/32768 as libsndfile would."""
    extremes = np.array([-1, 1 - 2**-23, 0, 2**-15, -(2**-15)])[:, None]
    samples = np.concatenate([extremes, speech(0.2)]).astype(np.float32)
    soundfile.write(tmp_path / "a", samples, 16000, subtype, format=container)
    with Recording(tmp_path / "a") as recording:
        write_recording(tmp_path / "b", recording.blocks(1000), 16000, 1, container, subtype, {})
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a")[0], soundfile.read(tmp_path / "b")[0])


@pytest.mark.parametrize(
    ("name", "asked", "suffix"),
    [
        ("a.WAV", None, ".WAV"),
        ("a.flac", None, ".flac"),
        ("a.mp3", None, ".flac"),
        ("a.oga", None, ".flac"),
        ("a.opus", None, ".flac"),
        ("a.sph", None, ".wav"),
        ("a.mp3", "mp3", ".mp3"),
        ("a.wav", "opus", ".opus"),
        ("a.aif", "aiff", ".aif"),
    ],
)
def test_the_output_is_lossless_unless_asked(name, asked, suffix, tmp_path):
    assert output_suffix(tmp_path / name, asked) == suffix


@pytest.mark.parametrize(
    ("name", "how", "format_name", "form"),
    [
        ("a.wav", {"subtype": "PCM_U8"}, "wav", OutputForm("WAV", "PCM_16")),
        ("a.wav", {"subtype": "ULAW"}, "wav", OutputForm("WAV", "PCM_16")),
        ("a.wav", {"subtype": "PCM_24"}, "wav", OutputForm("WAV", "PCM_24")),
        ("a.wav", {"subtype": "FLOAT"}, "flac", OutputForm("FLAC", "PCM_24")),
        ("a.wav", {"format": "WAVEX", "subtype": "PCM_16"}, "wav", OutputForm("WAVEX", "PCM_16")),
        ("a.mp3", {}, "flac", OutputForm("FLAC", "PCM_24")),
        ("a.wav", {}, "opus", OutputForm("OGG", "OPUS")),
    ],
)
def test_the_sample_type_is_the_inputs_or_better(name, how, format_name, form, tmp_path):
    with Recording(write(tmp_path / name, **how)) as recording:
        assert output_form(recording, format_name, 1000) == form


def test_a_wav_too_large_for_its_header_becomes_rf64(tmp_path):
    with Recording(write(tmp_path / "a.wav")) as recording:
        assert output_form(recording, "wav", LARGEST_WAV // 2 + 1) == OutputForm("RF64", "PCM_16")


@pytest.mark.parametrize(("name", "out"), [("a.wav", "a.wav"), ("a.flac", "a.flac"), ("a.mp3", "a.flac")])
def test_tags_are_kept_and_the_software_does_not_grow(name, out, enhancer, tmp_path):
    with soundfile.SoundFile(tmp_path / name, "w", 16000, 1) as file:
        for tag in TAGS:
            setattr(file, tag, "7" if tag == "tracknumber" else f"the {tag}")
        file.write(speech())
    before = Recording(tmp_path / name).tags
    assert len(before) >= 8
    enhance_file(enhancer, tmp_path / name, tmp_path / "out" / out)
    assert Recording(tmp_path / "out" / out).tags == before


# Which files


def test_structure_is_kept_and_outputs_are_no_inputs(tmp_path):
    for name in ("in/a.wav", "in/deep/er/b.flac", "in/deep/c.mp3", "in/.hidden/d.wav", "in/out/old.wav"):
        write(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no audio")
    plan = plan_files([str(tmp_path / "in")], str(tmp_path / "in" / "out"))
    names = {str(job.target.relative_to(tmp_path / "in" / "out")) for job in plan.jobs}
    assert names == {"a.wav", "deep/er/b.flac", "deep/c.flac"}


def test_patterns_keep_what_is_below_their_fixed_part_and_folders_their_names(tmp_path):
    for name in ("in/x/a.wav", "in/y/a.wav", "in/y/b.flac", "z/a.wav"):
        write(tmp_path / name)
    inputs = [str(tmp_path / "in" / "**" / "*.wav"), str(tmp_path / "z")]
    plan = plan_files(inputs, str(tmp_path / "out"))
    assert {str(job.target.relative_to(tmp_path / "out")) for job in plan.jobs} == {"x/a.wav", "y/a.wav", "z/a.wav"}


def test_a_link_to_an_input_is_not_written_through(tmp_path):
    source = write(tmp_path / "in" / "a.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav").hardlink_to(source)
    with pytest.raises(OvertoneError, match="never overwritten"):
        plan_files([str(source)], str(tmp_path / "out"), overwrite=True)


# The command


def test_several_processes_give_what_one_gives_and_the_batch_can_go_on(tmp_path, capsys):
    for number in range(3):
        write(tmp_path / "in" / f"{number}.wav", speech(seed=number))
    (tmp_path / "in" / "bad.wav").write_text("no sound")
    assert run(tmp_path / "in", "--out", tmp_path / "one") == 1
    arguments = ["enhance", str(tmp_path / "in"), "--out", str(tmp_path / "two"), "--model", str(package())]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "0.wav").write_bytes((tmp_path / "one" / "0.wav").read_bytes())
    capsys.readouterr()
    assert main([*arguments, "--jobs", "2"]) == 1
    printed = capsys.readouterr()
    assert "Enhanced 2 files" in printed.out and "1 output existed" in printed.out
    assert "1 of 4 inputs failed" in printed.err and "bad.wav: not readable" in printed.err
    for number in range(3):
        name = f"{number}.wav"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_ctrl_c_leaves_whole_files_only_and_the_same_command_goes_on(tmp_path):
    write(tmp_path / "in" / "a.wav")
    write(tmp_path / "in" / "b.wav", speech(900.0, 8000), 8000)
    arguments = [*COMMAND, str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--model", str(package())]
    process = subprocess.Popen([*arguments, "--jobs", "1"], stderr=subprocess.PIPE, text=True)
    wait_for((tmp_path / "out" / "a.wav").exists)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "continues where it was" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_neither_torch_nor_mlflow_is_loaded(tmp_path):
    source = write(tmp_path / "a.wav")
    code = (
        "import sys; from overtone.cli.main import main; code = main(sys.argv[1:]);"
        "print(code, sorted({'torch', 'mlflow', 'pandas', 'librosa', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    options = ["enhance", str(source), "--out", str(tmp_path / "b.wav"), "--model", str(package())]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
