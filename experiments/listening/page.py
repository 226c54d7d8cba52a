"""A blind listening test on one page that opens from disk: MUSHRA-style rating, and A/B/X for two systems.

The page plays numbered sounds in an order drawn for each listener; names of systems are in the votes only, which it
saves at the end. The plan with the names is encoded as base64, so that they are not seen by accident.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from experiments.listening.stimuli import REFERENCE, ListeningTrial, matched
from experiments.listening.votes import NAME, VOTES_FORMAT, VOTES_VERSION
from experiments.pages.embedding import asset, audio_uri
from overtone.errors import OvertoneError
from overtone.files import written_whole

ABX_TRIALS = 16


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
) -> None:
    """Write a listening test as a page of its own, whole or not at all.

    Args:
        path: the HTML file.
        trials: what is rated; all at one sample rate, with the same systems.
        title: the page's heading; it should not name a system.
        comparison_key: which comparison the votes belong to (its folder is ``<preset>-<key>``).
        preset: the comparison's preset.
        seed: of the order of the sounds in the file; each listener's orders have a seed of their own.
        abx: two systems to be told apart in a second test on the page; None for none.

    Raises:
        OvertoneError: trials that cannot be compared or level-matched, or names that cannot be told apart.
    """
    _check(trials, comparison_key, preset, abx)
    sounds = [
        (number, system, audio_uri(waveform, trial.sample_rate).partition(",")[2])
        for number, trial in enumerate(trials)
        for system, waveform in matched(trial).items()
    ]
    order = np.random.default_rng(seed).permutation(len(sounds))
    plan = {
        "trials": [
            {
                "file": trial.file,
                "condition": trial.condition,
                "sounds": {sounds[index][1]: i for i, index in enumerate(order) if sounds[index][0] == number},
            }
            for number, trial in enumerate(trials)
        ],
        "reference": REFERENCE,
        "abx": None if abx is None else {"systems": [abx.one, abx.other], "trials": abx.trials},
    }
    data = {
        "format": VOTES_FORMAT,
        "version": VOTES_VERSION,
        "seed": seed,
        "sample_rate": trials[0].sample_rate,
        "plan": base64.b64encode(json.dumps(plan).encode()).decode(),
        "audio": [sounds[index][2] for index in order],
        "preset": preset,
        "comparison": comparison_key,
    }
    data["test"] = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
    page = Template(asset("listening.html", "listening")).substitute(
        title=escape(title),
        style=asset("page.css") + asset("listening.css", "listening"),
        data=json.dumps(data).replace("<", "\\u003c"),
        script=asset("listening_player.js", "listening") + asset("listening.js", "listening"),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _check(trials: Sequence[ListeningTrial], comparison_key: str, preset: str, abx: AbxPair | None) -> None:
    if not trials:
        raise OvertoneError("The listening test has no trials; expected one or more.")
    for what, name in (("comparison key", comparison_key), ("preset", preset)):
        if not re.fullmatch(NAME, name):
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
