"""The listening test's votes: what they say in numbers, and how they come into their comparison."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from listening_votes import FILES, comparison_findings, comparison_folder, mushra, written
from scipy.stats import norm, t

from experiments.keys import digest
from experiments.listening.listen import import_command
from experiments.listening.results import Results, stored_votes
from experiments.listening.statistics import (
    excluded_listeners,
    rated_pairs,
    rated_systems,
    two_way_interval,
)
from experiments.listening.votes import read_votes
from experiments.pages.samples import Sample
from experiments.report.markdown import write_leaderboard
from experiments.report.page import write_report
from experiments.runs import sole_use
from experiments.tracking.tracker import open_tracker
from overtone.errors import OvertoneError

GOOD = {"wavegan": 80, "dnn_fft": 60, "unprocessed": 30}


def rating_table(listeners, items, value):
    rows = [
        {"listener": f"l{i}", "file": f"f{j}", "condition": "c", "system": system, "rating": value(system, i, j)}
        for system in ("reference", "good", "bad")
        for i in range(listeners)
        for j in range(items)
    ]
    return pd.DataFrame(rows)


# ---- statistics


def test_a_listener_who_misses_the_reference_more_than_15_percent_of_the_time_is_left_out():
    missed = {"l0": 0, "l1": 3, "l2": 4}  # of 20 trials: 0 %, 15 %, 20 %
    table = rating_table(3, 20, lambda system, i, j: 89 if system == "reference" and j < missed[f"l{i}"] else 90)
    assert excluded_listeners(table) == ["l2"]


def test_the_interval_of_balanced_listeners_is_students():
    """Items that do not differ leave only listeners: then it is the expanded interval of their means."""
    means = np.random.default_rng(3).normal(50, 10, 12)
    values, listeners = np.repeat(means, 12), np.repeat([f"l{i}" for i in range(12)], 12)
    found = two_way_interval(values, listeners, list("abcdefghijkl") * 12, resamples=20_000)
    half = t.ppf(0.975, 11) * means.std(ddof=1) / math.sqrt(12)
    assert found.mean == pytest.approx(means.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
    assert (found.speakers, found.utterances) == (12, 12)


def test_the_interval_covers_the_truth_when_both_listeners_and_items_vary():
    rng, covered, rounds = np.random.default_rng(5), 0, 150
    for number in range(rounds):
        cells = rng.normal(0, 5, (10, 1)) + rng.normal(0, 5, (1, 8)) + rng.normal(0, 5, (10, 8))
        rows, columns = np.indices(cells.shape)
        found = two_way_interval(cells.ravel(), rows.ravel(), columns.ravel(), resamples=400, seed=number)
        covered += found.low <= 0 <= found.high
    assert covered / rounds > 0.92


def test_a_single_listener_is_about_items_and_a_single_rating_has_no_interval():
    found = two_way_interval([10, 20, 30], ["l"] * 3, ["a", "b", "c"])
    assert found.low < 20 < found.high
    alone = two_way_interval([10], ["l"], ["a"])
    assert alone.mean == 10 and math.isnan(alone.low)
    assert math.isnan(two_way_interval([], [], []).mean)


def test_means_and_differences_of_known_ratings():
    levels = {"reference": 100, "good": 70, "bad": 40}
    table = rating_table(8, 5, lambda system, i, j: levels[system] + i * (system == "good"))
    systems = rated_systems(table).set_index("system")
    assert list(systems.index) == ["reference", "good", "bad"]
    assert systems.loc["good", "mushra"] == pytest.approx(73.5)
    assert systems.loc["bad", ["mushra_low", "mushra_high"]].tolist() == [40, 40]
    assert systems.loc["good", "mushra_low"] < 73.5 < systems.loc["good", "mushra_high"]
    pairs = rated_pairs(table)
    assert pairs[["system", "other"]].to_numpy().tolist() == [["good", "bad"]]
    assert pairs.loc[0, "difference"] == pytest.approx(33.5)
    assert pairs.loc[0, "p_value"] == pytest.approx(2 * 0.5**8)  # all eight listeners agree


# ---- import


def test_votes_reach_the_leaderboard(tmp_path):
    folder = comparison_folder(tmp_path)
    files = [written(tmp_path, mushra(i, {"wavegan": 80 + i, "dnn_fft": 60, "unprocessed": 30})) for i in range(8)]
    import_command(files, tmp_path, None, "none")
    board = pd.read_csv(folder / "leaderboard.csv").set_index("system")
    assert board.columns[-4:].tolist() == ["mushra", "mushra_low", "mushra_high", "listeners"]
    assert board.loc["wavegan", "mushra"] == pytest.approx(83.5)
    assert board.loc["wavegan", "mushra_low"] < 83.5 < board.loc["wavegan", "mushra_high"]
    assert board["listeners"].tolist() == [8, 8, 8]
    assert board["rank"].tolist()[:2] == [1, 2]
    votes = pd.read_csv(folder / "listening.csv")
    assert len(votes) == 8 * 4 * 4
    summary = pd.read_csv(folder / "listening-summary.csv")
    assert summary["system"].tolist() == ["reference", "wavegan", "dnn_fft", "unprocessed"]
    differences = pd.read_csv(folder / "listening-differences.csv")
    assert differences["p_holm"].tolist() == pytest.approx([3 * 2 * 0.5**8] * 3)
    text = (folder / "leaderboard.md").read_text()
    assert text.index("## Listening test") < text.index("## How to reproduce")
    assert "8 of 8 listeners count" in text


def test_importing_again_changes_nothing(tmp_path, capsys):
    folder = comparison_folder(tmp_path)
    files = [written(tmp_path, mushra(1, GOOD)), written(tmp_path, mushra(2, GOOD))]
    import_command(files, tmp_path, None, "none")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    import_command(files, tmp_path, None, "none")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert "Nothing new" in capsys.readouterr().out


def test_an_import_beside_a_comparison_is_refused_and_changes_nothing(tmp_path):
    folder = comparison_folder(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    votes = written(tmp_path, mushra(1, GOOD))
    for runs, named in ((tmp_path, None), (tmp_path / "other", folder)):
        runs.mkdir(exist_ok=True)
        with sole_use(tmp_path, "comparison"), pytest.raises(OvertoneError, match="another comparison or import"):
            import_command([votes], runs, named, "none")
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


def test_votes_add_up_in_whatever_order_they_come(tmp_path):
    files = [written(tmp_path, mushra(i, GOOD | {"wavegan": 70 + i})) for i in range(5)]
    texts = []
    for number, groups in enumerate(([files], [files[3:], files[:3]], [[one] for one in reversed(files)])):
        runs = tmp_path / str(number)
        folder = comparison_folder(runs)
        for group in groups:
            import_command(group, runs, None, "none")
        texts.append([(folder / name).read_text() for name in ("listening.csv", "leaderboard.csv", "leaderboard.md")])
    assert texts[0] == texts[1] == texts[2]


def test_a_comparison_started_again_writes_the_leaderboard_that_the_import_wrote(tmp_path):
    folder = comparison_folder(tmp_path)
    fresh = {path: path.read_text() for path in (folder / "leaderboard.csv", folder / "leaderboard.md")}
    assert stored_votes(folder) == []
    import_command([written(tmp_path, mushra(1, GOOD))], tmp_path, None, "none")
    voted = {path: path.read_text() for path in fresh}
    assert all(voted[path] != fresh[path] for path in fresh)
    heard = Results.of(stored_votes(folder))
    write_leaderboard(comparison_findings(ratings=heard.ratings, remarks=heard.remarks), folder)
    assert {path: path.read_text() for path in fresh} == voted


def test_of_two_sessions_of_a_listener_the_later_counts(tmp_path, capsys):
    folder = comparison_folder(tmp_path)
    late = mushra(2, GOOD | {"wavegan": 90}, listener="f" * 16)
    early = mushra(1, GOOD, listener="f" * 16)
    import_command([written(tmp_path, late), written(tmp_path, early)], tmp_path, None, "none")
    assert pd.read_csv(folder / "leaderboard.csv")["mushra"].tolist() == [90, 60, 30]
    assert "Ada, 2026-05-01 12:01: replaced by a later session" in capsys.readouterr().out
    assert len(list((folder / "votes").iterdir())) == 2


def test_a_listener_who_does_not_hear_the_reference_does_not_count(tmp_path, capsys):
    folder = comparison_folder(tmp_path)
    deaf = mushra(2, {"wavegan": 0, "dnn_fft": 0, "unprocessed": 99}, reference=[100, 100, 100, 50], name="Ben")
    import_command([written(tmp_path, mushra(1, GOOD)), written(tmp_path, deaf)], tmp_path, None, "none")
    board = pd.read_csv(folder / "leaderboard.csv")
    assert board["mushra"].tolist() == [80, 60, 30] and board["listeners"].tolist() == [1, 1, 1]
    assert pd.read_csv(folder / "listening.csv").groupby("session")["excluded"].all().tolist() == [False, True]
    assert "Ben: left out" in capsys.readouterr().out
    assert "1 of 2 listeners count" in (folder / "leaderboard.md").read_text()


def test_listeners_are_called_by_their_names_and_told_apart(tmp_path):
    folder = comparison_folder(tmp_path)
    given = ("Ada", "ada", "", "Zoë\u2028Q", "[b]")
    import_command(
        [written(tmp_path, mushra(i, GOOD, name=name)) for i, name in enumerate(given)], tmp_path, None, "none"
    )
    votes = pd.read_csv(folder / "listening.csv")
    assert votes["name"].unique().tolist() == ["Ada 1", "ada 2", "listener 1", "Zoë Q", "[b]"]
    assert votes.columns[0] == "name" and votes.columns[-2:].tolist() == ["listener", "session"]
    assert votes.groupby("name")["listener"].nunique().eq(1).all()


def test_everybody_left_out_leaves_no_means(tmp_path):
    folder = comparison_folder(tmp_path)
    import_command([written(tmp_path, mushra(1, GOOD, reference=10))], tmp_path, None, "none")
    assert pd.read_csv(folder / "leaderboard.csv")["mushra"].isna().all()
    assert "0 of 1 listener count" in (folder / "leaderboard.md").read_text()


def test_a_named_comparison_folder_may_lie_elsewhere(tmp_path):
    folder = comparison_folder(tmp_path / "elsewhere")
    import_command([written(tmp_path, mushra(1, GOOD))], tmp_path, folder, "none")
    assert (folder / "listening.csv").is_file()
    with pytest.raises(OvertoneError, match="votes on comparison demo-other, expected demo-abc123"):
        import_command([written(tmp_path, mushra(2, GOOD, comparison="other"))], tmp_path, folder, "none")


def test_the_comparisons_run_gets_the_votes_and_the_leaderboard(tmp_path):
    folder = comparison_folder(tmp_path)
    with open_tracker("mlflow", tmp_path).run(
        "compare-demo", "comparison", {}, digest("comparison", folder.name)
    ) as run:
        run.log_metrics({"made": 1.0})
    files = [written(tmp_path, mushra(1, GOOD)), written(tmp_path, mushra(2, GOOD))]
    for _ in range(2):
        import_command(files, tmp_path, None, "mlflow")
    tables = tmp_path / "artifacts" / run.id / "artifacts" / "tables"
    assert len(json.loads((tables / "listening.json").read_text())["data"]) == 2 * 4 * 4
    leaderboard = json.loads((tables / "leaderboard.json").read_text())
    assert [row[leaderboard["columns"].index("mushra")] for row in leaderboard["data"]] == [80, 60, 30]


def test_the_ratings_stand_in_report_words_columns_and_runs_alike(tmp_path):
    folder = comparison_folder(tmp_path)
    sample = Sample("Best: a.wav", "telephone", {"target": np.zeros(160, np.float32)}, 16_000)
    write_report(comparison_findings(), folder / "report.html", [sample])
    before = (folder / "report.html").read_text()
    import_command([written(tmp_path, mushra(1, GOOD))], tmp_path, None, "mlflow")
    after = (folder / "report.html").read_text()
    assert "MUSHRA" not in before and 'id="listening-test"' in after and "80.0" in after
    (sound,) = set(re.findall(r"data:audio/flac;base64,[^\"]+", before))
    assert after.count(sound) == before.count(sound) == 1
    client = open_tracker("mlflow", tmp_path).store.client
    tags = client.get_experiment_by_name("compare-demo").tags
    note = tags["mlflow.note.content"].splitlines()
    assert "mushra" in next(line for line in note if line.startswith("|")).lower()
    assert "metrics.`test/mushra`" in tags["mlflow.sharedViewState.overtone"]
    found = client.search_runs([client.get_experiment_by_name("compare-demo").experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert runs["unprocessed"].data.metrics["test/mushra"] == 30
    kept = tmp_path / "artifacts" / runs["comparison"].info.run_id / "artifacts" / "report.html"
    assert kept.read_text() == after


def test_an_import_that_mlflow_does_not_answer_is_complete_and_is_published_later(tmp_path, capsys):
    folder = comparison_folder(tmp_path)
    import_command([written(tmp_path, mushra(1, GOOD))], tmp_path, None, "http://127.0.0.1:9")
    assert pd.read_csv(folder / "leaderboard.csv")["mushra"].tolist() == [80, 60, 30]
    assert "tracking does not answer" in " ".join("".join(capsys.readouterr()).split())
    (kept,) = tmp_path.glob("tracked/compare-demo/comparison-*/tables/listening.json")
    assert len(json.loads(kept.read_text())["data"]) == 16


# ---- what strangers send


def broken(**changes):
    return mushra(1, GOOD) | changes


def with_rating(value):
    votes = mushra(1, GOOD)
    votes["trials"][0]["ratings"]["wavegan"] = value
    return votes


def with_trial(**changes):
    votes = mushra(1, GOOD)
    votes["trials"][0] |= changes
    return votes


HOSTILE = {
    "another format": (broken(format="other"), "format: String should match"),
    "a list": ([1, 2], "no votes"),
    "another version": (broken(version=2), "version: Input should be less than or equal to 1, got 2"),
    "a path as preset": (broken(preset="../../etc"), "preset: String should match"),
    "a path as session": (broken(session="../../../tmp/evil"), "session: String should match"),
    "a session and a line": (broken(session="0" * 16 + "\n"), "session: String should match"),
    "no listener": (broken(listener=None), "listener: Input should be a valid string, got None"),
    "another method": (broken(method="magic"), "method: Input should be 'mushra', got 'magic'"),
    "an unhashable method": (broken(method=[]), "no votes"),
    "no trials": (broken(trials=[]), "at least 1 item"),
    "trials of numbers": (broken(trials=[1]), "trials.0: "),
    "too many trials": (broken(trials=mushra(1, GOOD)["trials"] * 200), "at most 500 items"),
    "a local time": (broken(finished="2026-05-01"), "finished: "),
    "a negative seed": (broken(seed=-1), "seed: Input should be greater than or equal to 0, got -1"),
    "a boolean seed": (broken(seed=True), "seed: Input should be a valid integer, got True"),
    "a rating of 101": (with_rating(101), "ratings.wavegan: Input should be less than or equal to 100, got 101"),
    "a rating as text": (with_rating("100"), "ratings.wavegan: Input should be a valid integer, got '100'"),
    "a rating of true": (with_rating(True), "valid integer, got True"),
    "a rating of NaN": (with_rating(math.nan), "ratings.wavegan"),
    "a rating left out": (with_rating(None), "valid integer, got None"),
    "an order of others": (with_trial(order=["a", "b"]), "order and ratings"),
    "an order of lists": (with_trial(order=[[], {}, None, 1]), "order.0: "),
    "no reference": (with_trial(order=["unprocessed"], ratings={"unprocessed": 1}), "reference and unprocessed"),
    "an endless time": (with_trial(seconds=math.inf), "seconds: "),
    "control characters": (with_trial(file="\x1b[31m"), "control characters"),
    "control characters as a system": (mushra(1, GOOD | {"\x1b[31m": 1}), "control characters"),
    "a recording twice": (mushra(1, GOOD, files=(FILES[0], FILES[0])), "rated twice"),
    "an unknown system": (mushra(1, GOOD | {"=HYPERLINK()": 1}), "not on the leaderboard"),
    "an unknown file": (mushra(1, GOOD, files=("=cmd()",)), "has not scored"),
    "an unknown comparison": (broken(comparison="f00"), "has no leaderboard.csv"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_the_page_cannot_have_written_is_one_line_and_changes_nothing(tmp_path, name):
    votes, reason = HOSTILE[name]
    folder = comparison_folder(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    path = tmp_path / "votes.json"
    path.write_text(json.dumps(votes))
    good = written(tmp_path, mushra(9, GOOD))
    with pytest.raises(OvertoneError) as error:
        import_command([good, path], tmp_path, None, "none")
    assert reason in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value) and str(error.value).isprintable() and len(str(error.value)) < 500
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "Invalid JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "Invalid JSON"),
        (b" " * 2_000_001, "larger than"),
    ],
)
def test_what_is_no_json_is_one_line(tmp_path, content, reason):
    path = tmp_path / "votes.json"
    path.write_bytes(content)
    with pytest.raises(OvertoneError, match=reason) as error:
        read_votes(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(OvertoneError, match="cannot be read"):
            read_votes(path)


def test_the_expansion_of_few_listeners_is_as_documented():
    """The percentile's tail for n clusters; keeps the interval from silently losing it."""
    wide = two_way_interval([0, 10, 20, 30], list("abcd"), ["i"] * 4, resamples=20_000)
    tail = norm.cdf(-math.sqrt(4 / 3) * t.ppf(0.975, 3))
    drawn = np.random.default_rng(1).choice([0, 10, 20, 30], (50_000, 4)).mean(axis=1)
    assert (wide.low, wide.high) == pytest.approx(tuple(np.quantile(drawn, [tail, 1 - tail])), abs=1.3)
