"""Made-up votes and a comparison that they are on, for the tests of the listening test's import."""

import json

import pandas as pd

SYSTEMS = ("wavegan", "dnn_fft", "unprocessed")
FILES = ("eve/1.wav", "finn/1.wav", "eve/2.wav", "finn/2.wav")
CONDITION = "telephone"


def comparison_folder(runs, key="abc123"):
    """A comparison with a leaderboard and the scores of `FILES`, as `compare` leaves it."""
    folder = runs / "comparisons" / f"tiny-{key}"
    folder.mkdir(parents=True)
    board = pd.DataFrame({"rank": [1, 2, None], "system": SYSTEMS, "primary": [0.3, 0.35, 0.5]})
    board.astype({"rank": "Int64"}).to_csv(folder / "leaderboard.csv", index=False)
    scores = pd.DataFrame({"file": FILES, "condition": CONDITION})
    scores.to_csv(folder / "scores-test.csv", index=False)
    (folder / "leaderboard.md").write_text(
        "# Leaderboard of `tiny`\n\nWords.\n\n## How to reproduce\n\n```\nrun\n```\n"
    )
    return folder


def header(number, method):
    return {
        "format": "overtone-listening-votes",
        "version": 1,
        "preset": "tiny",
        "comparison": "abc123",
        "session": f"{number:016x}",
        "listener": f"{number + 1000:016x}",
        "name": "Ada",
        "user_agent": "a browser",
        "method": method,
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
    return header(number, "mushra") | {"trials": trials} | changes


def abx(number, right, trials, preferred="a", **changes):
    """A session in which the first ``right`` answers are right; A is always wavegan."""
    rows = [
        {
            "file": FILES[i % 4],
            "condition": CONDITION,
            "a": "wavegan",
            "b": "dnn_fft",
            "x": "b",
            "answer": "b" if i < right else "a",
            "preference": preferred,
            "seconds": 5,
        }
        for i in range(trials)
    ]
    return header(number, "abx") | {"trials": rows} | changes


def written(folder, votes, name=None):
    path = folder / (name or f"{votes['session']}.json")
    path.write_text(json.dumps(votes))
    return path
