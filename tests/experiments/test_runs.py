"""The folder for runs: found, named in hints only where it is not the usual one."""

import pytest

from experiments.runs import Workspace, find_runs_folder, runs_option, usual_runs_folder
from overtone.errors import OvertoneError


def test_a_hint_names_the_folder_for_runs_only_where_it_is_not_the_usual_one(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert usual_runs_folder() == Workspace().runs == tmp_path / "mlruns"
    assert runs_option(find_runs_folder(None)) == ""
    assert runs_option(find_runs_folder(tmp_path / "my runs")) == f" --runs '{tmp_path}/my runs'"


@pytest.mark.parametrize("tracking", ["", "paper", "http://", "https://a b", "MLFLOW"])
def test_runs_are_tracked_in_mlflow_on_a_server_or_not_at_all(tracking):
    with pytest.raises(OvertoneError, match="tracking: expected mlflow, none, or the http://HOST:PORT"):
        Workspace(tracking=tracking)
