"""Speak sentences with espeak-ng in a process of its own: a job as JSON on stdin, samples on stdout.

espeak-ng seeds its breath noise with the time of day, and carries state (random generators, the previous clause) from
one sentence to the next. So only a seeded, fresh process that speaks the same sentences in the same order gives the
same bytes. `datamodules.demo.demo_corpus` therefore
runs this file by its path, once per voice; it needs nothing but the standard library.

Input: ``{"library", "data", "voice", "words_per_minute", "pitch", "pitch_range", "sentences"}``.
Output: one JSON line ``{"sample_rate", "lengths"}``, then the sentences' 16-bit samples in native order.
"""

import ctypes
import json
import sys
from typing import Any

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARACTERS_UTF8 = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_OK = 0
_SEED = 1

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def version(library: str) -> str:
    """Return the version of an espeak-ng shared library without starting it.

    Raises:
        OSError: the library does not load.
    """
    espeak = ctypes.CDLL(library)
    espeak.espeak_Info.restype = ctypes.c_char_p
    return str(espeak.espeak_Info(None).decode())


def _speak(job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return the header and the samples of all sentences of a job."""
    espeak = ctypes.CDLL(job["library"])
    sample_rate = espeak.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, job["data"].encode(), _INITIALIZE_DONT_EXIT)
    if sample_rate <= 0:
        raise SystemExit(f"espeak-ng does not start with the data in {job['data']}")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
    samples = bytearray()

    def collect(wav: Any, count: int, _events: int | None) -> int:  # noqa: ANN401 - a ctypes pointer
        if wav and count > 0:
            samples.extend(ctypes.string_at(wav, 2 * count))
        return 0

    callback = _SynthCallback(collect)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(job["voice"].encode()) != _OK:
        raise SystemExit(f"espeak-ng has no voice {job['voice']!r}")
    espeak.espeak_SetParameter(_PARAMETER_RATE, job["words_per_minute"], 0)
    espeak.espeak_SetParameter(_PARAMETER_PITCH, job["pitch"], 0)
    espeak.espeak_SetParameter(_PARAMETER_RANGE, job["pitch_range"], 0)
    lengths = []
    for sentence in job["sentences"]:
        before = len(samples)
        text = sentence.encode() + b"\0"
        if espeak.espeak_Synth(text, len(text), 0, 0, 0, _CHARACTERS_UTF8, None, None) != _OK:
            raise SystemExit(f"espeak-ng did not speak {sentence!r}")
        lengths.append((len(samples) - before) // 2)
    return {"sample_rate": sample_rate, "lengths": lengths}, bytes(samples)


if __name__ == "__main__":
    _header, _samples = _speak(json.load(sys.stdin))
    sys.stdout.buffer.write(json.dumps(_header).encode() + b"\n" + _samples)
