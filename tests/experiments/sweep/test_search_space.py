"""Search spaces: declared over real settings, around the defaults, and buildable wherever a sweep may go."""

import numpy as np
import pytest
import torch

from experiments.registry import MODELS, build_model, model_class
from models.losses import CrossoverLoss, MultiResolutionSpectralLoss
from models.search_space import Choice, FloatRange, IntRange

SAMPLE_RATE = 16000
CASES = [(name, field) for name in MODELS for field in model_class(name).search_space]


def extremes(one):
    """The outermost values of a range, or every option of a choice."""
    return one.options if isinstance(one, Choice) else (one.low, one.high)


def build(name, settings):
    module = build_model(name, SAMPLE_RATE, settings)
    with torch.no_grad():
        enhanced = module.eval().enhance(0.1 * torch.randn(1, 3000))
    assert enhanced.shape == (1, 3000)
    assert torch.isfinite(enhanced).all()
    return module


@pytest.mark.parametrize("name", MODELS)
def test_a_space_covers_optimiser_and_architecture_with_fields_that_exist(name):
    cls = model_class(name)
    fields = cls.settings_class.__dataclass_fields__
    assert set(cls.search_space) <= set(fields)
    assert {"learning_rate", "gradient_clip"} < set(cls.search_space)


@pytest.mark.parametrize(("name", "field"), CASES)
def test_the_default_lies_inside_the_space(name, field):
    one = model_class(name).search_space[field]
    default = getattr(model_class(name).settings_class(), field)
    assert one.including(default) == one


@pytest.mark.parametrize(("name", "field"), CASES)
def test_every_extreme_value_builds(name, field):
    for value in extremes(model_class(name).search_space[field]):
        assert getattr(build(name, {field: value}).settings, field) == value


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("corner", ["lowest", "highest", *range(4)])
def test_corners_of_the_whole_space_build_and_can_stream_in_time(name, corner):
    rng = np.random.default_rng(corner if isinstance(corner, int) else 0)
    index = {"lowest": 0, "highest": -1}.get(corner)
    settings = {}
    for field, one in model_class(name).search_space.items():
        values = list(extremes(one))
        settings[field] = values[rng.integers(len(values)) if index is None else index]
    module = build(name, settings)
    if module.latency_samples is not None:
        assert module.latency_samples <= 0.04 * SAMPLE_RATE


def test_ranges_grow_to_hold_a_value():
    assert FloatRange(1.0, 2.0).including(0.5) == FloatRange(0.5, 2.0)
    assert FloatRange(1.0, 2.0, log=True).including(1.5) == FloatRange(1.0, 2.0, log=True)
    assert IntRange(8, 24, step=4).including(32) == IntRange(8, 32, step=4)
    assert IntRange(8, 24, step=4).including(2) == IntRange(2, 24)
    assert Choice((1, 2)).including(3) == Choice((1, 2, 3))
    assert Choice(((1, 2), (3, 4))).including((3, 4)) == Choice(((1, 2), (3, 4)))


def test_weights_change_the_loss_as_they_say():
    preds, target = (torch.logspace(1, -4, 8000) * torch.randn(2, 2, 8000)).unbind()
    band_hz, cutoff_hz = torch.tensor([8000.0, 6000.0]), torch.tensor([4000.0, 8000.0])
    loss = MultiResolutionSpectralLoss(SAMPLE_RATE)
    batch = {"narrowband": preds, "wideband": target, "band_hz": band_hz, "cutoff_hz": cutoff_hz}
    relative = (preds - target).abs().mean() / (target.abs().mean() + 1e-4)

    def of_module(**settings):
        torch.manual_seed(0)
        settings = {"crossover_weight": 0.0} | settings
        return build_model("dnn_fft", SAMPLE_RATE, settings).eval().reconstruction_loss(preds, batch)

    def of_loss(**weights):
        torch.manual_seed(0)
        build_model("dnn_fft", SAMPLE_RATE, {})
        weights = {"retained_weight": 0.3, "quiet_weight": 0.2, "envelope_weight": 3.0} | weights
        return loss(preds, target, band_hz, cutoff_hz=cutoff_hz, resolutions=[loss.drawn_resolution()], **weights)

    exactly = {"rtol": 0, "atol": 0}
    torch.testing.assert_close(of_module(), of_loss() + 0.1 * relative, **exactly)
    torch.testing.assert_close(
        of_module(waveform_weight=0.0, envelope_weight=2.0), of_loss(envelope_weight=2.0), **exactly
    )
    torch.testing.assert_close(
        of_module(waveform_weight=0.0, retained_weight=1.0), of_loss(retained_weight=1.0), **exactly
    )
    torch.testing.assert_close(of_module(waveform_weight=0.0, quiet_weight=1.0), of_loss(quiet_weight=1.0), **exactly)
    crossover = CrossoverLoss(SAMPLE_RATE)(preds, target, band_hz, cutoff_hz)
    assert crossover > 0.01
    torch.testing.assert_close(of_module(crossover_weight=2.0), of_module() + 2.0 * crossover)
    changed = ({}, {"envelope_weight": 2.0}, {"retained_weight": 1.0}, {"quiet_weight": 1.0})
    assert len({float(of_loss(**weights)) for weights in changed}) == 4
