"""The journal of scores: what goes in comes out, whatever was stopped meanwhile."""

import errno
import math

import pytest

from experiments.scoring.journal import Entry, ScoreJournal
from overtone.errors import OvertoneError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / ".table.csv.scores"


def test_rows_come_back_to_the_last_bit(path):
    row = {"lsd": 0.1 + 0.2, "tiny": 5e-324, "snr": math.nan, "failures": "snr: gave “nan”\nand more"}
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
        assert journal.count("old") == 2
        journal.add([Entry("ours", "one", "new", {"lsd": 3.0})])
    with ScoreJournal(path) as journal:
        assert journal.find("ours", "one") == {"lsd": 3.0}
        assert journal.holds("ours", "two", "old")
        assert not journal.holds("ours", "one", "old")
        assert journal.count("old") == journal.count("new") == 1


@pytest.mark.parametrize("left", range(1, 45, 4))
def test_a_line_that_a_kill_has_cut_is_forgotten_and_the_others_are_kept(path, left):
    with ScoreJournal(path) as journal:
        journal.add([Entry("ours", "one", "key", {"lsd": 1.0}), Entry("ours", "zwölf", "key", {"lsd": 2.0})])
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:left])
    with ScoreJournal(path) as journal:
        assert journal.find("ours", "one") == {"lsd": 1.0}
        assert journal.find("ours", "zwölf") is None
        journal.add([Entry("ours", "zwölf", "key", {"lsd": 3.0})])
    with ScoreJournal(path) as journal:
        assert (journal.find("ours", "one"), journal.find("ours", "zwölf")) == ({"lsd": 1.0}, {"lsd": 3.0})


def test_one_process_at_a_time(path):
    with ScoreJournal(path) as journal:
        with pytest.raises(OvertoneError, match="another process is scoring there"):
            ScoreJournal(path)
        journal.add([Entry("ours", "one", "key", {"lsd": 1.0})])
    with ScoreJournal(path) as journal:
        assert journal.find("ours", "one") == {"lsd": 1.0}


@pytest.mark.parametrize("content", [b"no journal\n" * 40, b"no journal", b"[1, 2]\n", b"{}\n", b"3\n", b"\xff\xfe\n"])
def test_what_is_no_journal_is_refused_and_stays_as_it_is(tmp_path, content):
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    with pytest.raises(OvertoneError, match="Remove it to score anew"):
        ScoreJournal(broken)
    assert broken.read_bytes() == content


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(OvertoneError, match="cannot be written"):
        ScoreJournal(tmp_path)
    with ScoreJournal(tmp_path / "full") as journal, pytest.raises(OvertoneError, match="No space left"):

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        journal._file.flush = full
        journal.add([Entry("ours", "one", "key", {"lsd": 1.0})])


def test_nothing_is_left_of_a_removed_one_nor_of_an_empty_one(path):
    with ScoreJournal(path):
        pass
    assert not list(path.parent.iterdir())
    journal = ScoreJournal(path)
    journal.add([Entry("ours", "one", "key", {"lsd": 1.0})])
    journal.remove()
    assert not list(path.parent.iterdir())
