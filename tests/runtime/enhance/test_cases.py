"""What went wrong for people once: formats of phones, names, kinds of file, values."""

import io
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from enhance_cases import speech, write
from web_server import package

from overtone.audio_files.sources import SUFFIXES, THROUGH_FFMPEG
from overtone.audio_files.wave_pipes import RAW_FORMS
from overtone.cli.main import main

PHONE_FORMATS = {
    "a.m4a": ["-c:a", "aac"],
    "a.mp4": ["-c:a", "aac", "-movflags", "+faststart"],
    "a.aac": ["-c:a", "aac"],
    "a.webm": ["-c:a", "libopus", "-ar", "48000"],
    "a.mka": ["-c:a", "flac"],
    "a.wma": ["-c:a", "wmav2", "-ar", "44100"],
    "a.wv": ["-c:a", "wavpack"],
    "a.ac3": ["-c:a", "ac3", "-ar", "48000"],
}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def enhance(*arguments):
    return main(["enhance", *map(str, arguments), "--model", str(package()), "--jobs", "1"])


def converted(folder, name):
    source = write(folder / "source.wav", speech(2.0))
    target = folder / "in" / name
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, *PHONE_FORMATS[name], target], check=True)
    return target


def outputs(folder):
    return sorted(os.fsencode(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@needs_ffmpeg
@pytest.mark.parametrize("name", PHONE_FORMATS)
def test_formats_of_phones_and_browsers_come_through_ffmpeg(name, tmp_path, capfd):
    path = converted(tmp_path, name)
    assert enhance(path, "--out", tmp_path / "out.wav") == 0
    assert soundfile.info(tmp_path / "out.wav").duration == pytest.approx(2.0, abs=0.15)  # an AAC encoder pads
    data = path.read_bytes()
    path.write_bytes(data[: round(0.6 * len(data))])
    assert enhance(path, "--out", tmp_path / "cut.wav") == 1
    assert "ffmpeg: " in capfd.readouterr().err


@needs_ffmpeg
def test_without_ffmpeg_the_command_is_named_and_nothing_is_passed_over(tmp_path, capfd, monkeypatch):
    converted(tmp_path, "a.m4a")
    write(tmp_path / "in" / "b.wav")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert enhance(tmp_path / "in", "--out", tmp_path / "out") == 1
    assert "a.m4a: is MPEG-4 audio, which needs ffmpeg. Install it, or convert" in capfd.readouterr().err
    assert outputs(tmp_path / "out") == [b"b.wav"]


def test_standard_input_without_ffmpeg_names_a_command_that_works(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "a b.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(99))
    assert enhance(tmp_path / "a b.m4a", "--out", tmp_path / "out.wav") == 1
    assert f"ffmpeg -i '{tmp_path / 'a b.m4a'}' '{tmp_path / 'a b.wav'}'" in capfd.readouterr().err
    with (tmp_path / "a b.m4a").open("rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        assert enhance("-", "--out", tmp_path / "out.wav") == 1
    assert "ffmpeg -i FILE -f wav - | overtone enhance - --out OUT" in capfd.readouterr().err


def test_a_play_list_is_not_followed(tmp_path, capfd):
    (tmp_path / "a.m4a").write_text(f"#EXTM3U\n#EXTINF:1,\n{write(tmp_path / 'secret.wav')}\n")
    assert enhance(tmp_path / "a.m4a", "--out", tmp_path / "out.wav") == 1
    assert "not readable as audio" in capfd.readouterr().err


@pytest.mark.parametrize("suffix", sorted(THROUGH_FFMPEG))
def test_an_output_of_a_format_that_is_not_written_is_no_folder(suffix, tmp_path, capfd):
    assert enhance(write(tmp_path / "a.wav"), "--out", tmp_path / f"talk{suffix}") == 1
    assert "a format that is not written. Expected one of .wav, .flac" in capfd.readouterr().err
    assert not (tmp_path / f"talk{suffix}").exists()


def test_a_folder_is_searched_for_all_that_is_read(tmp_path):
    soundfile.write(tmp_path / "a.voc", speech(), 16000, format="VOC")
    soundfile.write(tmp_path / "b.sph", speech(), 16000, format="NIST")
    assert {".mp2", ".m4a", ".amr", ".gsm"} < SUFFIXES
    assert enhance(tmp_path, "--out", tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == [b"a.wav", b"b.wav"]


@pytest.mark.parametrize(
    "name", ["a" * 251 + ".wav", "\u6f22" * 83 + ".wav", "caf\udce9.wav", "\udcff\udcfe.wav", "a b'\"\n.wav"]
)
def test_names_of_any_length_and_encoding(name, tmp_path, capfd):
    write(tmp_path / "in" / "b.wav")
    os.rename(tmp_path / "in" / "b.wav", tmp_path / "in" / name)
    write(tmp_path / "in" / "b.wav")
    (tmp_path / "in" / f"bad{name[:9]}.flac").write_text("no audio")
    assert enhance(tmp_path / "in", "--out", tmp_path / "out") == 1
    assert "1 of 3 inputs failed" in capfd.readouterr().err
    assert outputs(tmp_path / "out") == sorted([b"b.wav", os.fsencode(name)])


def test_two_names_that_are_long_and_begin_alike(tmp_path):
    for end in "xy":
        write(tmp_path / "in" / ("a" * 250 + f"{end}.wav"), speech(seed=ord(end)))
    assert enhance(tmp_path / "in", "--out", tmp_path / "out") == 0
    first, second = (soundfile.read(path)[0] for path in sorted((tmp_path / "out").iterdir()))
    assert not np.array_equal(first, second)


def test_pipes_in_a_folder_are_left_and_links_to_nothing_are_named(tmp_path, capfd):
    write(tmp_path / "in" / "a.wav")
    os.mkfifo(tmp_path / "in" / "x.wav")
    (tmp_path / "in" / "y.wav").symlink_to("nowhere")
    assert enhance(tmp_path / "in", "--out", tmp_path / "out") == 1
    assert "1 of 2 inputs failed" in (said := capfd.readouterr().err) and "y.wav: is a link to nowhere" in said
    assert outputs(tmp_path / "out") == [b"a.wav"]
    assert enhance(tmp_path / "in" / "y.wav", "--out", tmp_path / "y.wav") == 1
    assert "y.wav: is a link to nowhere, which does not exist" in capfd.readouterr().err


def test_a_pipe_that_is_named_is_read(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    data = write(tmp_path / "a.wav", speech(1.0)).read_bytes()
    writer = threading.Thread(target=(tmp_path / "x.wav").write_bytes, args=(data,))
    writer.start()
    assert enhance(tmp_path / "x.wav", "--out", tmp_path / "out.wav") == 0
    writer.join()
    assert soundfile.info(tmp_path / "out.wav").duration == 1.0


def test_names_that_differ_in_case_only_are_two_files(tmp_path):
    write(tmp_path / "in" / "a.wav")
    write(tmp_path / "in" / "A.wav")
    if len(list((tmp_path / "in").iterdir())) < 2:
        pytest.skip("this file system does not tell them apart")
    assert enhance(tmp_path / "in", "--out", tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == [b"A.wav", b"a.wav"]


def test_a_linked_folder_beside_its_target_has_its_outputs_too(tmp_path):
    write(tmp_path / "in" / "real" / "a.wav")
    (tmp_path / "in" / "again").symlink_to("real")
    (tmp_path / "in" / "real" / "back").symlink_to(tmp_path / "in")
    assert enhance(tmp_path / "in", "--out", tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == [b"again/a.wav", b"real/a.wav"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["", "--out", "out"], "INPUT: is empty"),
        (["a.wav", "--out", ""], "--out: is empty"),
        (["a.wav", "--out", "/dev/stdout"], "Standard output is --out -"),
    ],
)
def test_names_that_name_nothing(arguments, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.wav")
    assert enhance(*arguments) == 1
    captured = capfd.readouterr()
    assert said in captured.err and captured.out == ""
    assert outputs(Path()) == [b"a.wav"]


@pytest.mark.parametrize("value", [1e20, -1e30, 3e38, np.inf, np.nan])
def test_a_sample_that_cannot_be_computed_with_is_named(value, tmp_path, capfd):
    samples = speech(2.0)
    samples[16000] = value
    assert enhance(write(tmp_path / "a.wav", samples, subtype="FLOAT"), "--out", tmp_path / "out.wav") == 1
    assert "a.wav: Sample 16000 is" in capfd.readouterr().err
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(("name", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW"), ("u8", "PCM_U8")])
def test_telephony_decodes_as_libsndfile_decodes_it(name, subtype, tmp_path):
    data = bytes(range(256))
    (tmp_path / "a.raw").write_bytes(data)
    expected, _ = soundfile.read(
        tmp_path / "a.raw", dtype="float32", format="RAW", subtype=subtype, samplerate=8000, channels=1
    )
    np.testing.assert_array_equal(RAW_FORMS[name].decoded(data), expected)
    assert RAW_FORMS[name].subtype == subtype
