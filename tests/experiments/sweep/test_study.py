"""Studies: which trials count, names by what is comparable, settings there and back, storages."""

from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from postgresql_server import postgresql_server, why_not

from experiments.presets.preset import SweepSettings, load_preset
from experiments.registry import MODELS, build_model
from experiments.sweep.results import TRIALS, StudyResult, counted_trials, retry_of, trial_table
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import open_storage, retries
from experiments.sweep.study import known_studies, load_study, make_study, open_study, study_key, trial_preset
from overtone.errors import OvertoneError

X = {"x": optuna.distributions.FloatDistribution(0, 1)}


@pytest.fixture
def preset(tiny_preset):
    preset = load_preset(str(tiny_preset))
    return replace(preset, models={model: {} for model in MODELS} | preset.models)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def storage(request, tmp_path_factory):
    """A database of each kind, for all studies of this file."""
    if request.param == "sqlite":
        yield open_storage(f"sqlite:///{tmp_path_factory.mktemp('studies') / 'optuna.db'}")
        return
    if why_not() is not None:
        pytest.skip(why_not())
    with postgresql_server() as server:
        yield open_storage(server.make_database("studies"))


def complete(value, broken=0.0, state=TrialState.COMPLETE):
    return create_trial(
        state=state, value=value, params={"x": 0.5}, distributions=X, constraints={"rtf": broken, "lsd_low": 0.0}
    )


# Results


def test_the_best_trial_is_feasible_complete_and_the_earliest_of_equals(storage):
    study = optuna.create_study(storage=storage)
    assert StudyResult.of(study).best is None
    study.add_trial(complete(0.1, broken=1.0))
    assert StudyResult.of(study).best is None
    study.add_trials([complete(0.2, state=TrialState.PRUNED), complete(0.4), complete(0.3), complete(0.3)])
    assert StudyResult.of(study).trial == 3


def test_the_first_finished_by_number_count_and_the_summary_says_so(storage):
    study = optuna.create_study(storage=storage)
    study.set_user_attr(TRIALS, 3)
    study.add_trials([complete(0.4), create_trial(state=TrialState.FAIL), complete(0.3), complete(0.5, broken=1.0)])
    study.add_trial(complete(0.1))  # a second worker's, as good as it is
    assert [trial.number for trial in counted_trials(study)] == [0, 2, 3]
    assert StudyResult.of(study).trial == 2
    assert list(trial_table(study)["counts"]) == [True, False, True, True, False]
    summary = StudyResult.of(study)
    assert summary.counts == "4 complete, 1 fail; the first 3 that finished count, 1 more do not"
    study.set_user_attr(TRIALS, 4)
    assert StudyResult.of(study).trial == 4


def test_a_trial_whose_process_ended_is_queued_again_as_it_was_until_it_died_too_often(storage):
    study = optuna.create_study(storage=storage)
    study.enqueue_trial({"x": 0.25}, user_attrs={"default": True})
    for number in range(3):
        trial = study.ask()
        assert trial.number == number
        assert trial.suggest_float("x", 0, 1) == 0.25
        study.tell(number, state=TrialState.FAIL)
        retries(2)(study, study.trials[number])
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3
    assert [retry_of(trial) for trial in study.trials] == [None, 0, 1]
    assert study.trials[2].user_attrs == {"default": True}
    retries(None)(study, study.trials[2])  # interrupted, which may happen any number of times
    assert study.trials[3].state == TrialState.WAITING


# Names and settings


@pytest.mark.parametrize("model", MODELS)
def test_the_presets_own_settings_are_a_trial_and_the_same_training(model, preset, storage):
    study, space = optuna.create_study(storage=storage), SearchSpace(preset, model)
    study.enqueue_trial(space.default_parameters)
    parameters = space.suggest(study.ask())
    assert parameters == space.default_parameters
    assert space.settings_with(parameters) == preset.models[model]


@pytest.mark.parametrize("model", MODELS)
def test_a_trials_parameters_become_settings_that_build(model, preset, storage):
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(3))
    space = SearchSpace(preset, model)
    parameters = space.suggest(study.ask())
    assert set(parameters) == set(space.ranges)
    changed = space.settings_with(study.trials[0].params)
    assert trial_preset(preset, model, changed).models == {model: changed}
    built = build_model(model, preset.sample_rate, changed)
    for key, value in parameters.items():
        setting = getattr(built.settings, key)
        assert value == (f"[{', '.join(map(str, setting))}]" if isinstance(setting, tuple) else setting)


def test_a_trial_spends_the_sweeps_budget(preset):
    small = trial_preset(replace(preset, sweep=SweepSettings(examples=8, epochs=1)), "dnn_fft", {})
    assert (small.budget.examples, small.budget.epochs) == (8, 1)
    assert trial_preset(preset, "dnn_fft", {}).budget == preset.budget
    assert SearchSpace(preset, "dnn_fft").own_settings["hidden"] == 16


def test_a_study_has_another_name_where_its_trials_would_not_compare(preset):
    def name(changed=preset, data="data"):
        return study_key(changed, "dnn_fft", data).name

    assert name().startswith("tiny-dnn_fft-")
    assert name(replace(preset, sweep=SweepSettings(trials=99, grace_seconds=999, max_retries=0))) == name()
    others = [
        name(data="other data"),
        name(replace(preset, sweep=SweepSettings(examples=8, epochs=2))),
        name(replace(preset, sweep=SweepSettings(seed=1))),
        name(replace(preset, sweep=SweepSettings(objective="lsd"))),
        name(replace(preset, winner=replace(preset.winner, tonality=9.0))),
        name(replace(preset, models=preset.models | {"dnn_fft": {"hidden": 32}})),
    ]
    assert len({name(), *others}) == 1 + len(others)


def test_one_machine_makes_a_study_and_one_of_other_trials_is_refused(preset, storage):
    key = study_key(preset, "dnn_fft", "data", "mine")
    assert make_study(storage, key, preset)[1] is True
    study, new = make_study(storage, key, preset)
    assert (study.study_name, new) == ("mine", False)
    with pytest.raises(OvertoneError, match="mine: its trials were made with other data"):
        make_study(storage, study_key(preset, "dnn_fft", "other", "mine"), preset)
    changed = replace(preset, budget=replace(preset.budget, examples=20))
    with pytest.raises(OvertoneError, match="mine: its trials were made with other data"):  # as a worker opens it
        open_study(storage, study_key(changed, "dnn_fft", "data", "mine"), preset.sweep)


def test_the_direction_is_the_objectives(preset, storage):
    for objective, expected in [("primary", "MINIMIZE"), ("val_loss", "MINIMIZE"), ("si_sdr", "MAXIMIZE")]:
        changed = replace(preset, sweep=SweepSettings(objective=objective))
        study, _ = make_study(storage, study_key(changed, "dnn_fft", "data"), changed)
        assert study.direction.name == expected
    with pytest.raises(OvertoneError, match=r"unknown objective 'beauty'\. Known: primary, val_loss, extended_ber"):
        study_key(replace(preset, sweep=SweepSettings(objective="beauty")), "dnn_fft", "data")


# Storages


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "expected a database URL"),
        ("oracle://host/name", "driver"),
        ("sqlite:////nowhere/at/all/optuna.db", "cannot be opened"),
        ("postgresql+psycopg://me:secret@127.0.0.1:9/optuna", "cannot be opened|is not installed"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_the_password(url, expected):
    with pytest.raises(OvertoneError, match=expected) as raised:
        open_storage(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_reading_makes_no_database_and_names_the_studies_there_are(tmp_path):
    absent = tmp_path / "absent.db"
    with pytest.raises(OvertoneError, match=r"absent\.db: no such database\. Sweep first"):
        load_study(f"sqlite:///{absent}", "any")
    assert not absent.exists()
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.create_study(storage=open_storage(url), study_name="mine")
    assert known_studies(url) == ["mine"]
    assert load_study(url, "mine").study_name == "mine"
    with pytest.raises(OvertoneError, match=r"No study 'other' in .*There are: mine\."):
        load_study(url, "other")
