"""The journal of scores: what goes in comes out, whatever was stopped meanwhile."""

import errno
import math

import pytest

from experiments.scoring.journal import score_journal
from overtone.errors import OvertoneError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / ".table.csv.scores"


def test_rows_come_back_to_the_last_bit(path):
    row = {"lsd": 0.1 + 0.2, "tiny": 5e-324, "snr": math.nan, "failures": "snr: gave “nan”\nand more"}
    with score_journal(path) as journal:
        journal.add("one", row)
        journal.add("two", {"lsd": 1.0})
        journal.add("two", {"lsd": 2.0})
    with score_journal(path) as journal:
        assert repr(journal.rows["one"]) == repr(row)
        assert journal.rows["two"] == {"lsd": 2.0}
        assert len(journal.rows) == 2


@pytest.mark.parametrize("left", range(1, 26, 3))
def test_a_line_that_a_kill_has_cut_is_forgotten_and_the_others_are_kept(path, left):
    with score_journal(path) as journal:
        journal.add("one", {"lsd": 1.0})
        journal.add("zwölf", {"lsd": 2.0})
    first, second = path.read_bytes().splitlines(keepends=True)
    assert left < len(second)
    path.write_bytes(first + second[:left])
    with score_journal(path) as journal:
        assert journal.rows == {"one": {"lsd": 1.0}}
        journal.add("zwölf", {"lsd": 3.0})
    with score_journal(path) as journal:
        assert journal.rows == {"one": {"lsd": 1.0}, "zwölf": {"lsd": 3.0}}


def test_one_process_at_a_time(path):
    with score_journal(path) as journal:
        with pytest.raises(OvertoneError, match="another process is scoring there"), score_journal(path):
            pass
        journal.add("one", {"lsd": 1.0})
    with score_journal(path) as journal:
        assert journal.rows == {"one": {"lsd": 1.0}}


@pytest.mark.parametrize(
    "content", [b"no journal\n" * 40, b"no journal", b"[1, 2]\n", b"[1, 2, 3]\n", b"{}\n", b"3\n", b"\xff\xfe\n"]
)
def test_what_is_no_journal_is_refused_and_stays_as_it_is(tmp_path, content):
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    with pytest.raises(OvertoneError, match="Remove it to score anew"), score_journal(broken):
        pass
    assert broken.read_bytes() == content


def test_a_place_that_cannot_be_written_is_an_error_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError), score_journal(tmp_path):
        pass
    with pytest.raises(OSError, match="No space left"), score_journal(tmp_path / "full") as journal:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        journal._file.flush = full
        journal.add("one", {"lsd": 1.0})


def test_nothing_is_left_of_an_emptied_one(path):
    with score_journal(path):
        pass
    assert not list(path.parent.iterdir())
    with score_journal(path) as journal:
        journal.add("one", {"lsd": 1.0})
        journal.rows.clear()
    assert not list(path.parent.iterdir())
