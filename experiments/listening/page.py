"""A blind listening test on one page that opens from disk: MUSHRA-style rating.

The page plays numbered sounds in an order drawn for each listener; names of systems are in the votes only, which it
saves at the end. The plan with the names is encoded as base64, so that they are not seen by accident.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from experiments.listening.stimuli import REFERENCE, ListeningTrial, matched
from experiments.listening.votes import HEADPHONE_ROUNDS, VOTES_FORMAT, VOTES_VERSION
from experiments.pages.embedding import asset, audio_uri
from overtone.files import written_whole

SCRIPTS = ("listening_player.js", "headphone_check.js", "listening.js")  # one function, in this order


def write_listening_page(
    path: Path,
    trials: Sequence[ListeningTrial],
    *,
    title: str,
    comparison_key: str,
    preset: str,
    seed: int,
    practice: ListeningTrial | None = None,
) -> None:
    """Write a listening test as a page of its own, whole or not at all.

    Args:
        path: the HTML file.
        trials: what is rated, one or more: different recordings at one sample rate, each from the same systems.
        title: the page's heading; it should not name a system.
        comparison_key: which comparison the votes belong to (its folder is ``<preset>-<key>``).
        preset: the comparison's preset.
        seed: of the order of the sounds in the file; each listener's orders have a seed of their own.
        practice: what is tried first and does not count; None where there is too little for one apart, so that the
            first of ``trials`` serves.
    """
    every = [*trials, practice] if practice else trials
    sounds = [
        (number, system, audio_uri(waveform, trial.sample_rate).partition(",")[2])
        for number, trial in enumerate(every)
        for system, waveform in matched(trial).items()
    ]
    order = np.random.default_rng(seed).permutation(len(sounds))
    planned = [
        {
            "file": trial.file,
            "condition": trial.condition,
            "sounds": {sounds[index][1]: i for i, index in enumerate(order) if sounds[index][0] == number},
        }
        for number, trial in enumerate(every)
    ]
    plan = {
        "trials": planned[: len(trials)],
        "practice": planned[-1 if practice else 0],
        "reference": REFERENCE,
    }
    data = {
        "format": VOTES_FORMAT,
        "version": VOTES_VERSION,
        "seed": seed,
        "sample_rate": trials[0].sample_rate,
        "headphone_rounds": HEADPHONE_ROUNDS,
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
        script="".join(asset(name, "listening") for name in SCRIPTS),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
