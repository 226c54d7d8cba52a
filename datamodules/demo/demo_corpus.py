"""The demo corpus: 24 synthetic voices and 6 noises, made offline in seconds and byte-identical when made again."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from datamodules.degradation import noise
from datamodules.demo import espeak_voice
from overtone.audio import Waveform, write_audio
from overtone.errors import OvertoneError
from overtone.worker_pool import available_cores

RECIPE_VERSION = 1
SAMPLE_RATE = 22050
SENTENCES_PER_VOICE = 20
# The long-term spectrum of every voice falls smoothly up to the Nyquist frequency: the synthesiser fills its band.
EFFECTIVE_BANDWIDTH_HZ = SAMPLE_RATE // 2
_NOISE_SECONDS = 12.0
_LICENCE = "CC0-1.0"
_LICENCE_NOTE = """\
Synthesised on this machine by Overtone's recipe {recipe} with espeak-ng {espeak} (GPL-3.0-or-later; the licence
covers the program, not what it says). The sentences were written for Overtone. Sentences and audio: CC0 1.0.
"""


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker: espeak-ng's ``language+variant`` with its own tempo, pitch, level and room tone.

    Attributes:
        name: the speaker's name and folder.
        split: train, val or test.
        espeak: espeak-ng's name of the voice.
        words_per_minute: tempo.
        pitch: 0 to 99, within the variant's own range.
        pitch_range: 0 to 99, how lively the intonation is.
        level_db: active speech level in dBFS.
        room_db: level of the room tone in dBFS.
    """

    name: str
    split: str
    espeak: str
    words_per_minute: int
    pitch: int
    pitch_range: int
    level_db: float
    room_db: float


# No variant appears in two splits. Whispering, croaking, echoing and robotic variants are left out. "en" is British.
VOICES = (
    Voice("ada", "train", "en-us+f1", 168, 52, 55, -26, -68),
    Voice("bea", "train", "en+f3", 182, 47, 60, -24, -72),
    Voice("cleo", "train", "en-us+Annie", 160, 40, 50, -27, -64),
    Voice("dora", "train", "en-gb-scotland+linda", 176, 45, 50, -25, -70),
    Voice("edith", "train", "en-us+steph", 190, 55, 58, -28, -75),
    Voice("fay", "train", "en-gb-x-rp+shelby", 172, 58, 52, -23, -66),
    Voice("abel", "train", "en-us+m1", 165, 50, 48, -26, -62),
    Voice("ben", "train", "en+m2", 178, 42, 55, -25, -71),
    Voice("carl", "train", "en-gb-scotland+m4", 170, 60, 50, -24, -73),
    Voice("dan", "train", "en-us+m7", 185, 48, 60, -27, -60),
    Voice("emil", "train", "en-us+adam", 162, 54, 50, -26, -69),
    Voice("finn", "train", "en+Mario", 174, 38, 52, -28, -67),
    Voice("gus", "train", "en-us+david", 158, 62, 45, -25, -74),
    Voice("hal", "train", "en-029+robert", 180, 50, 56, -23, -65),
    Voice("gail", "val", "en+f5", 175, 46, 55, -25, -70),
    Voice("hope", "val", "en-us+aunty", 166, 52, 50, -27, -66),
    Voice("ivan", "val", "en-gb-x-rp+m5", 180, 48, 52, -24, -72),
    Voice("jack", "val", "en-us+edward2", 170, 55, 48, -26, -63),
    Voice("iris", "test", "en-us+f2", 172, 50, 56, -26, -67),
    Voice("joan", "test", "en+belinda", 164, 44, 50, -24, -73),
    Voice("kate", "test", "en-gb-scotland+anika", 184, 40, 54, -27, -64),
    Voice("karl", "test", "en-us+m3", 178, 52, 52, -25, -69),
    Voice("liam", "test", "en+m6", 168, 45, 58, -28, -71),
    Voice("max", "test", "en-gb-x-rp+benjamin", 174, 58, 50, -23, -61),
)


@dataclass(frozen=True)
class _Espeak:
    library: Path
    data: Path
    version: str


def prepare_demo_corpus(cache: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Make the demo corpus unless it is there, and return its folder, which holds a ``manifest.csv``.

    Args:
        cache: folder under which corpora are kept; the digest of the recipe is part of the corpus' name.
        progress: called with (voices done, voices in all).

    Raises:
        OvertoneError: espeak-ng is missing or does not work, or the cache cannot be written.
    """
    espeak = _find_espeak()
    corpus = cache / f"demo-{_digest(espeak.version)[:12]}"
    if (corpus / "manifest.csv").is_file():
        return corpus
    unfinished = cache / f".{corpus.name}.{os.getpid()}.part"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        _write_corpus(unfinished, espeak, progress)
        _rename_unless_there(unfinished, corpus)
    except OSError as error:
        raise OvertoneError(f"{cache}: the demo corpus cannot be written here ({error}).") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return corpus


def _rename_unless_there(unfinished: Path, corpus: Path) -> None:
    try:
        unfinished.rename(corpus)
    except OSError:
        # Another process finished the same corpus meanwhile: the bytes are the same.
        if not (corpus / "manifest.csv").is_file():
            raise


def _find_espeak() -> _Espeak:
    if find_spec("espeakng_loader") is None:
        raise OvertoneError(
            "The demo corpus is spoken by espeak-ng, which is not installed: pip install 'overtone[demo]', or give "
            "a corpus of your own with --data DIR."
        )
    import espeakng_loader

    library = Path(espeakng_loader.get_library_path())
    try:
        version = espeak_voice.version(str(library))
    except OSError as error:
        raise OvertoneError(f"{library}: espeak-ng does not load ({error}). Reinstall espeakng-loader.") from None
    return _Espeak(library, Path(espeakng_loader.get_data_path()), version)


def read_sentences() -> list[str]:
    """Return the sentences of the demo corpus: the training voices' half first."""
    lines = Path(__file__).with_name("demo_sentences.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _digest(espeak_version: str) -> str:
    recipe = [
        RECIPE_VERSION,
        EFFECTIVE_BANDWIDTH_HZ,
        espeak_version,
        read_sentences(),
        [asdict(voice) for voice in VOICES],
    ]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def sentences_of(voice: Voice) -> list[str]:
    """Return a voice's sentences: its own draw from the half of the pool that its side of the split may speak."""
    pool = read_sentences()
    middle = len(pool) // 2
    half = pool[:middle] if voice.split == "train" else pool[middle:]
    chosen = _rng("sentences", voice.name).permutation(len(half))[:SENTENCES_PER_VOICE]
    return [half[index] for index in chosen]


def _rng(*words: str) -> np.random.Generator:
    digest = hashlib.sha256("/".join((str(RECIPE_VERSION), *words)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def speak(voice: Voice, sentences: Sequence[str]) -> list[Waveform]:
    """Speak sentences with one voice in a fresh process, and put them into the voice's room.

    Args:
        voice: who speaks, and in which room.
        sentences: what is said.

    Returns:
        One waveform ``(samples,)`` at `SAMPLE_RATE` per sentence; the same samples every time for the same list.

    Raises:
        OvertoneError: espeak-ng is missing or fails.
    """
    return _speak(voice, sentences, _find_espeak())


def _speak(voice: Voice, sentences: Sequence[str], espeak: _Espeak) -> list[Waveform]:
    job = {
        "library": str(espeak.library),
        # espeak-ng cuts long paths to its data without a word, so it is started beside them.
        "data": espeak.data.name,
        "voice": voice.espeak,
        "words_per_minute": voice.words_per_minute,
        "pitch": voice.pitch,
        "pitch_range": voice.pitch_range,
        "sentences": list(sentences),
    }
    command = [sys.executable, "-I", str(Path(espeak_voice.__file__).resolve())]
    finished = subprocess.run(
        command, input=json.dumps(job).encode(), capture_output=True, cwd=espeak.data.parent, check=False
    )
    if finished.returncode != 0:
        reason = finished.stderr.decode(errors="replace").strip().splitlines()
        raise OvertoneError(f"espeak-ng failed for voice {voice.espeak!r}: {reason[-1] if reason else 'no reason'}.")
    header_line, samples = finished.stdout.split(b"\n", 1)
    header = json.loads(header_line)
    if header["sample_rate"] != SAMPLE_RATE:
        raise OvertoneError(f"espeak-ng speaks at {header['sample_rate']} Hz; expected {SAMPLE_RATE} Hz.")
    speech = np.frombuffer(samples, dtype=np.int16).astype(np.float32) / np.float32(32768)
    speech *= np.float32(10 ** (voice.level_db / 20) / noise.active_level(speech, SAMPLE_RATE))
    pieces = np.split(speech, np.cumsum(header["lengths"])[:-1])
    return [_in_room(piece, voice, number) for number, piece in enumerate(pieces)]


def _in_room(speech: Waveform, voice: Voice, number: int) -> Waveform:
    """Add a faint pink room tone, so that pauses are not digital zero, and keep the peak below full scale."""
    tone = noise.pink(speech.size, SAMPLE_RATE, _rng("room", voice.name, str(number)))
    recorded = speech + np.float32(10 ** (voice.room_db / 20)) * tone
    return recorded * np.float32(min(1.0, 0.98 / np.abs(recorded).max()))


def _write_corpus(folder: Path, espeak: _Espeak, progress: Callable[[int, int], None] | None) -> None:
    rows: list[dict[str, object]] = []
    babble_talkers: list[Waveform] = []
    # Threads suffice: each waits for an espeak-ng process of its own.
    with ThreadPoolExecutor(available_cores()) as pool:
        spoken = pool.map(lambda voice: _speak(voice, sentences_of(voice), espeak), VOICES)
        for done, (voice, waveforms) in enumerate(zip(VOICES, spoken, strict=True), start=1):
            for number, waveform in enumerate(waveforms, start=1):
                path = Path("speech", voice.name, f"{voice.name}_{number:02d}.wav")
                rows.append(_write_clip(folder, path, waveform, voice.name, voice.split, "speech"))
            if voice.split == "train":
                babble_talkers.append(np.concatenate(waveforms[:6]))
            if progress is not None:
                progress(done, len(VOICES))
    for name, split, waveform in _noises(babble_talkers):
        path = Path("noise", f"{name}.wav")
        rows.append(_write_clip(folder, path, 0.1 * waveform, name, split, "noise"))
    (folder / "LICENSE.txt").write_text(_LICENCE_NOTE.format(recipe=RECIPE_VERSION, espeak=espeak.version))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _noises(talkers: Sequence[Waveform]) -> list[tuple[str, str, Waveform]]:
    samples = round(_NOISE_SECONDS * SAMPLE_RATE)
    synthetic = {
        "pink": ("train", noise.pink),
        "fan": ("train", noise.fan),
        "hum": ("test", noise.hum_and_hiss),
        "street": ("train", noise.street),
        "rain": ("test", noise.rain),
    }
    made = [(name, split, make(samples, SAMPLE_RATE, _rng("noise", name))) for name, (split, make) in synthetic.items()]
    return [*made, ("babble", "train", noise.babble(samples, talkers[:8], _rng("noise", "babble")))]


def _write_clip(folder: Path, path: Path, waveform: Waveform, speaker: str, split: str, kind: str) -> dict[str, object]:
    write_audio(folder / path, np.clip(waveform, -1, 1), SAMPLE_RATE, "PCM_16")
    return {
        "path": path.as_posix(),
        "kind": kind,
        "split": split,
        "speaker": speaker,
        "seconds": round(waveform.size / SAMPLE_RATE, 3),
        "sample_rate": SAMPLE_RATE,
        "effective_bandwidth_hz": EFFECTIVE_BANDWIDTH_HZ,
        "licence": _LICENCE,
    }
