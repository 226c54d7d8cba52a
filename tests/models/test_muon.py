"""Muon: against torch's own, against its definition, and through a checkpoint."""

import copy

import pytest
import torch
from torch import nn

from models.muon import Muon, orthogonalised

OPTIONS = {"betas": (0.9, 0.99), "weight_decay": 0.1}


def stepped(network, optimisers, steps=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimiser in optimisers:
            optimiser.step()


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 40), nn.LayerNorm(40), nn.Linear(40, 6))


def test_weights_move_as_by_torchs_muon_and_all_else_as_by_adamw():
    ours, theirs = small_network(), small_network()
    matrices = [theirs[0].weight, theirs[2].weight]
    others = [theirs[0].bias, *theirs[1].parameters(), theirs[2].bias]
    peers = [
        torch.optim.Muon(matrices, 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, 0.01, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    stepped(ours, [Muon(ours, 0.01, **OPTIONS)])
    stepped(theirs, peers)
    for before, a, b in zip(small_network().parameters(), ours.parameters(), theirs.parameters(), strict=True):
        largest_step = (b - before).abs().max().item()
        torch.testing.assert_close(a, b, rtol=0, atol=0.02 * largest_step)  # torch's iterates in half precision


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (16, 16)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result = u.T @ orthogonalised(matrix) @ v.T
    assert result.diagonal().min() > 0.5 and result.diagonal().max() < 1.4
    assert (result - torch.diag(result.diagonal())).abs().max() < 0.1


def test_a_convolution_is_the_matrix_of_its_taps_and_a_recurrent_layer_has_two():
    convolution, recurrent = nn.Conv1d(4, 6, 5), nn.GRU(3, 5)
    network = nn.ModuleDict({"convolution": convolution, "recurrent": recurrent, "norm": nn.LayerNorm(7)})
    matrices, others = (group["params"] for group in Muon(network, 0.1, **OPTIONS).param_groups)
    wanted = [convolution.weight, recurrent.weight_ih_l0, recurrent.weight_hh_l0]
    assert [id(weight) for weight in matrices] == [id(weight) for weight in wanted]
    assert len(others) == 1 + 2 + 2
    linear = nn.Linear(20, 6)
    linear.weight.data.copy_(convolution.weight.flatten(1))
    for weight, layer in ((convolution.weight, convolution), (linear.weight, linear)):
        weight.grad = torch.linspace(-1, 1, 120).view_as(weight)
        Muon(layer, 0.1, **OPTIONS).step()
    assert torch.equal(convolution.weight.flatten(1), linear.weight)


def test_it_goes_on_from_its_state():
    straight, resumed = small_network(), small_network()
    before = Muon(straight, 0.01, **OPTIONS)
    stepped(straight, [before])
    resumed.load_state_dict(straight.state_dict())
    after = Muon(resumed, 0.5, **OPTIONS)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    stepped(straight, [before])
    stepped(resumed, [after])
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
