"""The page on what ViSQOL asks of a telephone's octave: its figures, its choice, and whose voices it plays."""

import re

import pandas as pd
import pytest
import soundfile

from benchmarks.pages import visqol_page
from benchmarks.pages.visqol_page import ERRORS_DB, MODEL, erring, main, passing_error
from experiments.presets.winner_rule import UNPROCESSED
from overtone.errors import OvertoneError


@pytest.fixture
def licensed(tiny_corpus, tmp_path):
    """The small corpus, of whose two test speakers one is under a licence that lets a page play it."""
    rows = pd.read_csv(tiny_corpus / "manifest.csv")
    rows["path"] = [str(tiny_corpus / path) for path in rows["path"]]
    rows["attribution"] = "Recorded by " + rows["speaker"]
    rows["licence"] = ["CC-BY-4.0" if speaker == "eve" else "GPL-2.0" for speaker in rows["speaker"]]
    rows.to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


def test_the_page_has_every_system_and_plays_what_it_may(licensed, tmp_path, monkeypatch):
    monkeypatch.setattr(visqol_page, "SHOWN", ("visqol", "lsd_hf"))
    monkeypatch.setattr(visqol_page, "passing_error", lambda scores: (3, 6))
    assert main(["--data", str(licensed), "--out", str(tmp_path / "page"), "--workers", "1"]) == 0
    text = (tmp_path / "page" / "visqol.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| [\d.]+ \([^|]*\) \| ([\d.]+) ", text, re.MULTILINE))
    assert list(rows)[:3] == [UNPROCESSED, MODEL, visqol_page.TRUE] and len(rows) == 9
    far = [float(rows[name]) for name in (visqol_page.TRUE, *map(erring, ERRORS_DB))]
    assert far == sorted(far) and far[-1] < float(rows[UNPROCESSED])
    assert text.count("<audio") == 3 and "*Recorded by eve, CC-BY-4.0*" in text and "finn" not in text
    for name in re.findall(r'src="([^"]+)"', text):
        assert soundfile.info(tmp_path / "page" / name).frames > 0


def test_an_error_passes_where_it_is_rated_above_nothing():
    table = pd.DataFrame({"system": [UNPROCESSED, *map(erring, ERRORS_DB)], "visqol": [3.0, 4.0, 3.5, 2.9]})
    assert passing_error(table) == (6, 9)
    with pytest.raises(OvertoneError, match="above are 3, 6, 9"):
        passing_error(table.assign(visqol=[1.0, 4.0, 3.5, 2.9]))


def test_without_licences_nothing_is_played_and_one_line_says_why(tiny_corpus, tmp_path, capsys):
    assert main(["--data", str(tiny_corpus), "--out", str(tmp_path)]) == 2
    assert "expected the columns attribution, licence: " in capsys.readouterr().err
    assert main(["--data", str(tiny_corpus / "eve"), "--out", str(tmp_path)]) == 2
    assert "eve: expected the columns attribution, licence, speaker: " in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert "nowhere: no such folder or manifest" in capsys.readouterr().err
