"""Made-up votes and a comparison that they are on, for the tests of the listening test's import."""

import json

from score_tables import GOOD, findings_of, score_table

from experiments.report.markdown import write_leaderboard
from experiments.scoring.splits import write_scores

SYSTEMS = ("wavegan", "dnn_fft", "unprocessed")
FILES = ("anna/1.wav", "ben/1.wav", "anna/2.wav", "ben/2.wav")
CONDITION = "telephone"


def comparison_findings(**listening):
    """What a comparison of `SYSTEMS` on `FILES` found."""
    scores = score_table({"wavegan": GOOD, "dnn_fft": GOOD | {"extended_ber": 0.35}})
    scores = scores[(scores["condition"] == CONDITION) & scores["file"].isin(FILES)]
    return findings_of(scores, **listening)


def comparison_folder(runs, key="abc123"):
    """A comparison with a leaderboard and the scores of `FILES`, as `compare` leaves it."""
    folder = runs / "comparisons" / f"demo-{key}"
    folder.mkdir(parents=True)
    findings = comparison_findings()
    write_scores(findings.scores, folder / "scores-test.csv")
    write_leaderboard(findings, folder)
    return folder


def header(number):
    return {
        "format": "overtone-listening-votes",
        "version": 1,
        "preset": "demo",
        "comparison": "abc123",
        "session": f"{number:016x}",
        "listener": f"{number + 1000:016x}",
        "name": "Ada",
        "user_agent": "a browser",
        "method": "mushra",
        "seed": number,
        "started": "2026-05-01T11:00:00.000Z",
        "finished": f"2026-05-01T12:{number % 60:02d}:00.000Z",
        "complete": True,
        "comment": "",
    }


def mushra(number, ratings, *, reference=100, files=FILES, **changes):
    """A session in which each system gets the same rating in every trial; ``reference`` may be one per trial."""
    references = [reference] * len(files) if isinstance(reference, int) else reference
    trials = [
        {
            "file": file,
            "condition": CONDITION,
            "order": ["reference", *ratings],
            "ratings": {"reference": best, **ratings},
            "plays": {},
            "seconds": 30.5,
        }
        for file, best in zip(files, references, strict=True)
    ]
    return header(number) | {"trials": trials} | changes


def written(folder, votes, name=None):
    path = folder / (name or f"{votes['session']}.json")
    path.write_text(json.dumps(votes))
    return path
