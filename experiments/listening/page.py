"""A blind listening test on one page that opens from disk: MUSHRA-style rating, and A/B/X for two systems.

Nobody sees a system's name: the page plays numbered sounds in an order drawn for each listener, and says which number
was which only in the votes it saves at the end. The names are on the page in a scrambled form, which keeps them from an
eye that wanders, not from somebody who sets out to read them.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from experiments.listening.stimuli import LOW_PASS_ANCHOR, REFERENCE, ListeningTrial, matched
from experiments.pages.embedding import asset, audio_uri
from overtone.errors import OvertoneError
from overtone.files import written_whole

VOTES_FORMAT, VOTES_VERSION = "overtone-listening-votes", 1
ABX_TRIALS = 16
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class AbxPair:
    """Two systems that listeners tell apart.

    Attributes:
        one: the first, A as often as B.
        other: the second.
        trials: how many times X is drawn; 16 find a listener who is right 9 times in 10.
    """

    one: str
    other: str
    trials: int = ABX_TRIALS


def write_listening_page(
    path: Path,
    trials: Sequence[ListeningTrial],
    *,
    title: str,
    comparison_key: str,
    preset: str,
    seed: int,
    abx: AbxPair | None = None,
    low_pass_anchor: bool = False,
) -> None:
    """Write a listening test as a page of its own, whole or not at all.

    Args:
        path: the HTML file.
        trials: what is rated; all at one sample rate, with the same systems.
        title: the page's heading; it should not name a system.
        comparison_key: which comparison the votes belong to (its folder is ``<preset>-<key>``).
        preset: the comparison's preset.
        seed: scrambles the page; each listener's orders have a seed of their own, which the votes tell.
        abx: two systems to be told apart in a second test on the page; None for none.
        low_pass_anchor: whether the reference, low-passed at 3.5 kHz, is one more anchor.

    Raises:
        OvertoneError: trials that cannot be compared or level-matched, or names that cannot be told apart.
    """
    section = listening_section(
        trials,
        comparison_key=comparison_key,
        preset=preset,
        seed=seed,
        abx=abx,
        low_pass_anchor=low_pass_anchor,
    )
    page = Template(asset("listening.html", "listening")).substitute(
        title=escape(title), style=asset("page.css"), section=section
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def listening_section(
    trials: Sequence[ListeningTrial],
    *,
    comparison_key: str,
    preset: str,
    seed: int,
    abx: AbxPair | None = None,
    low_pass_anchor: bool = False,
) -> str:
    """Return the test as a ``<section>`` with its own style and script, for a page that has ``assets/page.css``.

    A page that shows results beside it is no blind test any more: better a link to a page of its own.
    Arguments and errors as in `write_listening_page`.
    """
    _check(trials, comparison_key, preset, abx)
    data = _data(trials, seed, abx, low_pass_anchor) | {"preset": preset, "comparison": comparison_key}
    data["test"] = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
    script = asset("listening_player.js", "listening") + asset("listening.js", "listening")
    return (
        f'<section class="listening-test"><style>{asset("listening.css", "listening")}</style>'
        '<div class="stage"><noscript>The listening test needs JavaScript.</noscript></div>'
        f'<script type="application/json">{json.dumps(data).replace("<", chr(92) + "u003c")}</script>'
        f"<script>(() => {{ 'use strict';\n{script}}})();</script></section>"
    )


def _check(trials: Sequence[ListeningTrial], comparison_key: str, preset: str, abx: AbxPair | None) -> None:
    if not trials:
        raise OvertoneError("The listening test has no trials; expected one or more.")
    for what, name in (("comparison key", comparison_key), ("preset", preset)):
        if not NAME.fullmatch(name):
            raise OvertoneError(f"{what} {name!r}: expected letters, digits, '.', '_' and '-' only.")
    if len({trial.sample_rate for trial in trials}) > 1:
        raise OvertoneError("The trials of a listening test differ in sample rate; expected one rate.")
    systems = set(trials[0].stimuli)
    for trial in trials:
        if set(trial.stimuli) != systems:
            expected = ", ".join(sorted(systems))
            raise OvertoneError(f"{trial.label}: has other systems than the first trial; expected {expected}.")
    if len({(trial.file, trial.condition) for trial in trials}) < len(trials):
        raise OvertoneError("Two trials of a listening test have the same file and condition; expected each once.")
    if abx is not None and not (abx.one != abx.other and {abx.one, abx.other} <= systems and abx.trials > 0):
        raise OvertoneError(
            f"A/B/X of {abx.one} and {abx.other}, {abx.trials} trials: expected two of {', '.join(sorted(systems))} "
            "and one trial or more."
        )


def _data(trials: Sequence[ListeningTrial], seed: int, abx: AbxPair | None, low_pass_anchor: bool) -> dict[str, Any]:
    """What the script reads: sounds in no order, and the scrambled plan of which is what."""
    generator = np.random.default_rng(seed)
    sounds = [
        (number, system, audio_uri(waveform, trial.sample_rate).partition(",")[2])
        for number, trial in enumerate(trials)
        for system, waveform in matched(trial, low_pass_anchor=low_pass_anchor).items()
    ]
    shuffled = [sounds[index] for index in generator.permutation(len(sounds))]
    plan: dict[str, Any] = {
        "trials": [
            {
                "title": trial.title,
                "file": trial.file,
                "condition": trial.condition,
                "sounds": {system: i for i, (of, system, _) in enumerate(shuffled) if of == number},
            }
            for number, trial in enumerate(trials)
        ],
        "reference": REFERENCE,
        "anchor": LOW_PASS_ANCHOR,
        "abx": None if abx is None else {"systems": [abx.one, abx.other], "trials": abx.trials},
    }
    key = int(generator.integers(2**32))
    return {
        "format": VOTES_FORMAT,
        "version": VOTES_VERSION,
        "seed": seed,
        "sample_rate": trials[0].sample_rate,
        "key": key,
        "plan": scrambled(plan, key),
        "audio": [text for _, _, text in shuffled],
    }


def scrambled(plan: Mapping[str, Any], key: int) -> str:
    """Hide a plan from a passing look; the page's script has the key beside it."""
    stream = _mulberry32(key)
    return base64.b64encode(bytes(byte ^ next(stream) & 255 for byte in json.dumps(plan).encode())).decode()


def unscrambled(text: str, key: int) -> dict[str, Any]:
    """Read what `scrambled` hid."""
    stream = _mulberry32(key)
    return dict(json.loads(bytes(byte ^ next(stream) & 255 for byte in base64.b64decode(text))))


def _mulberry32(state: int) -> Iterator[int]:
    """Tommy Ettinger's generator of 32-bit numbers, which JavaScript can follow to the bit."""
    mask = 0xFFFFFFFF
    while True:
        state = (state + 0x6D2B79F5) & mask
        mixed = ((state ^ state >> 15) * (1 | state)) & mask
        mixed = ((mixed + ((mixed ^ mixed >> 7) * (61 | mixed) & mask)) & mask) ^ mixed
        yield mixed ^ mixed >> 14
