"""The journal of scores: what goes in comes out, whoever was stopped meanwhile."""

import math
import sqlite3

import pytest

from experiments.scoring.journal import Entry, ScoreJournal
from overtone.errors import OvertoneError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / ".table.csv.scores"


def test_rows_come_back_to_the_last_bit(path):
    row = {"lsd": 0.1 + 0.2, "tiny": 5e-324, "snr": math.nan, "failures": "snr: gave “nan”"}
    with ScoreJournal(path) as journal:
        journal.add([Entry("ours", "one", "key", row)])
    with ScoreJournal(path) as journal:
        assert repr(journal.find("ours", "one")) == repr(row)
        assert journal.holds("ours", "one", "key")
        assert not journal.holds("ours", "one", "another key")
        assert not journal.holds("theirs", "one", "key")
        assert journal.find("ours", "two") is None


def test_scores_under_another_key_take_the_place(path):
    with ScoreJournal(path) as journal:
        journal.add([Entry("ours", "one", "old", {"lsd": 1.0}), Entry("ours", "two", "old", {"lsd": 2.0})])
        journal.add([Entry("ours", "one", "new", {"lsd": 3.0})])
        assert journal.find("ours", "one") == {"lsd": 3.0}
        assert journal.holds("ours", "two", "old")
        assert not journal.holds("ours", "one", "old")


def test_uses_are_counted_once_each(path):
    with ScoreJournal(path) as journal:
        assert [journal.count_use("a", estimates) for estimates in ("x", "x", "y")] == [1, 1, 2]
        assert journal.count_use("b", "x") == 1


def test_one_process_at_a_time_and_words_for_what_is_no_journal(path, tmp_path):
    with ScoreJournal(path), pytest.raises(OvertoneError, match="another process is scoring there"):
        ScoreJournal(path)
    broken = tmp_path / "broken"
    broken.write_text("no database, but long enough to be looked at" * 40)
    with pytest.raises(OvertoneError, match="Remove it to score anew"):
        ScoreJournal(broken)
    with pytest.raises(OvertoneError, match="cannot be written"):
        ScoreJournal(tmp_path)


def test_nothing_is_left_of_a_removed_one(path):
    journal = ScoreJournal(path)
    journal.add([Entry("ours", "one", "key", {"lsd": 1.0})])
    journal.remove()
    assert not list(path.parent.iterdir())


def test_what_another_library_reads_is_there(path):
    with ScoreJournal(path) as journal:
        journal.add([Entry("ours", "one", "key", {"lsd": 1.0})])
    assert sqlite3.connect(path).execute("SELECT system, item, key FROM scores").fetchall() == [("ours", "one", "key")]
