"""Enhancement through standard input and output: WAV with and without a length, bare samples, other formats."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from enhance_cases import speech, write
from packages import package
from processes import PATIENCE

from overtone.audio_files.wave_pipes import RAW_FORMS, HeaderReader, PipeForm, PipeSource, SampleForm, wave_header
from overtone.enhancer import Enhancer
from overtone.model_package import load_model

COMMAND = [sys.executable, "-m", "overtone.cli.main", "enhance"]
FORMS = [*RAW_FORMS.values(), SampleForm(8), SampleForm(64, floating=True)]


def run(data, *arguments):
    command = [*COMMAND, *map(str, arguments), "--model", str(package())]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def encoded(samples, rate, **how):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **how})
    return file.getvalue()


def source_of(data):
    pipe = io.BufferedReader(io.BytesIO(data))
    form = HeaderReader(pipe).wave_form()
    return None if form is None else PipeSource(pipe, form)


@pytest.mark.parametrize("form", [form for form in FORMS if not form.law], ids=str)  # a law is only read
def test_samples_survive_being_written_and_read(form):
    samples = np.concatenate([speech()[:, 0], [-1, 0]]).astype(np.float32)
    exact = form.decoded(form.encoded(samples))
    np.testing.assert_allclose(exact, samples, atol=0 if form.floating else 2.0**-form.bits)
    assert form.encoded(exact) == form.encoded(samples)


@pytest.mark.parametrize("form", [form for form in FORMS if not form.law], ids=str)
def test_our_header_is_read_by_libsndfile_and_by_us(form):
    samples = speech(channels=2)
    data = wave_header(PipeForm(44100, 2, form)) + form.encoded(samples)
    theirs, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    source = source_of(data)
    ours = np.concatenate(list(source.blocks(777)))
    assert rate == source.rate == 44100 and not source.loss
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_wav_is_read_as_libsndfile_reads_it(container, subtype):
    data = encoded(speech(channels=3), 16000, format=container, subtype=subtype)
    source = source_of(data)
    np.testing.assert_array_equal(
        np.concatenate(list(source.blocks(100))), soundfile.read(io.BytesIO(data), dtype="float32")[0]
    )
    assert source.subtype == subtype


def test_chunks_before_and_after_the_samples_are_no_samples():
    data = encoded(speech(), 16000, subtype="PCM_16")
    note = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    source = source_of(data[:12] + note + data[12:] + note)
    np.testing.assert_array_equal(
        np.concatenate(list(source.blocks(512))), soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    )


def test_a_pipe_that_ends_early_is_noticed_and_what_came_is_kept():
    source = source_of(encoded(speech(), 16000, subtype="PCM_16")[:-1001])
    assert sum(map(len, source.blocks(512))) == len(speech()) - 501
    assert "before its stated end" in source.loss


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"fLaC and so on, and on", encoded(speech(), 16000, subtype="IMA_ADPCM")]
)
def test_what_is_no_plain_wav_is_left_to_others(data):
    assert source_of(data) is None


def test_wav_through_the_command_is_the_enhanced_wav():
    samples = speech(1.0, channels=2)
    done = run(encoded(samples, 16000, subtype="FLOAT"), "-", "--out", "-", "--stream")
    assert done.returncode == 0, done.stderr
    enhanced, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    expected, _ = Enhancer(load_model(package())).enhance(samples, 16000)
    assert rate == 48000
    np.testing.assert_allclose(enhanced, expected, atol=1e-6)
    assert b"latency" in done.stderr and b"Traceback" not in done.stderr


def test_bare_samples_come_back_bare():
    samples = speech(0.5)[:, 0]
    form = RAW_FORMS["s16"]
    done = run(form.encoded(samples), "-", "--out", "-", "--raw-rate", "16000", "--rate", "16000")
    assert done.returncode == 0, done.stderr
    expected, _ = Enhancer(load_model(package())).enhance(form.decoded(form.encoded(samples)), 16000, 16000)
    np.testing.assert_allclose(form.decoded(done.stdout), expected, atol=2**-14)


def test_flac_through_a_pipe_to_a_file(tmp_path):
    done = run(encoded(speech(), 16000, format="FLAC"), "-", "--out", tmp_path / "a.flac")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "a.flac").frames == 24000


@pytest.mark.parametrize(
    ("data", "arguments", "said"),
    [
        (b"", ("-", "--out", "-"), b"standard input: not readable as audio"),
        (b"Dear Sir or Madam", ("-", "--out", "-"), b"standard input: not readable as audio"),
        (encoded(np.zeros((0, 1)), 16000), ("-", "--out", "-"), b"standard input: holds no samples"),
        (b"", ("-", "-", "--out", "-"), b"expected one input where a pipe takes part"),
        (b"", ("-", "--out", "-", "--format", "mp3"), b"standard output takes wav or raw"),
        (b"", ("-", "--out", "folder/"), b"expected a file of one of"),
    ],
)
def test_one_line_for_what_cannot_be(data, arguments, said):
    done = run(data, *arguments)
    assert done.returncode == 1
    assert said in done.stderr and b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    source = write(tmp_path / "a.wav", speech(20.0))
    command = [*COMMAND, str(source), "--out", "-", "--model", str(package())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(PATIENCE) == 1
    assert b"closed by the program that read it" in said and b"Traceback" not in said and b"Exception" not in said
