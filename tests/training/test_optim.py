"""Which parameters decay, and what the optimizer is told."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError
from armillary.training import checkpoint as disk
from armillary.training.optim import Optim, optimizer_of, schedule

from .rows import METHODS, tiny


@pytest.mark.parametrize("name", METHODS)
def test_only_matrices_decay_and_everything_that_trains_is_there_once(name):
    method, _ = tiny(name)
    names = {p: n for n, p in method.named_parameters()}
    optimizer = optimizer_of(method, Optim())
    decayed, plain = ([names[p] for p in group["params"]] for group in optimizer.param_groups)
    assert sorted(decayed + plain) == sorted(n for n, p in method.named_parameters() if p.requires_grad)
    assert not any(n.endswith(("bias", "mask_token")) or "norm" in n.rpartition(".")[0] for n in decayed)
    assert optimizer.param_groups[1]["weight_decay"] == 0.0


def test_the_released_decay_of_the_mask_token_is_an_option():
    method, _ = tiny("image.ijepa")
    token = method.predictor.mask_token
    decayed = {
        flag: optimizer_of(method, Optim(decay_mask_token=flag)).param_groups[0]["params"] for flag in (False, True)
    }
    assert not any(p is token for p in decayed[False])
    assert any(p is token for p in decayed[True])


def test_the_schedule_reaches_both_groups():
    optim = Optim(lr=1.0, weight_decay=0.1, final_weight_decay=0.3)
    optimizer = optimizer_of(torch.nn.Linear(2, 2), optim)
    rate, decay = schedule(optimizer, optim, 5, 10)
    assert [group["lr"] for group in optimizer.param_groups] == [rate, rate]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0]
    assert 0.1 < decay < 0.3


def test_lars_steps_as_its_paper_says_and_leaves_biases_alone():
    layer = torch.nn.Linear(3, 2)
    optim = Optim(kind="lars", lr=0.5, weight_decay=0.1, final_weight_decay=0.1, momentum=0.9, trust=0.01)
    optimizer = optimizer_of(layer, optim)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    moments = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for step in range(3):
        layer.zero_grad()
        layer(torch.full((4, 3), 1.0 + step)).square().sum().backward()
        change = layer.weight.grad + 0.1 * weight
        moments[0] = 0.9 * moments[0] + 0.01 * weight.norm() / change.norm() * change
        moments[1] = 0.9 * moments[1] + layer.bias.grad
        weight, bias = weight - 0.5 * moments[0], bias - 0.5 * moments[1]
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), weight)
        torch.testing.assert_close(layer.bias.detach(), bias)


def test_lars_does_not_adapt_where_a_norm_is_zero():
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(layer.weight)
    optimizer = optimizer_of(layer, Optim(kind="lars", lr=1.0))
    layer.weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(layer.weight.detach(), -torch.ones(2, 2))


@pytest.mark.parametrize("kind", ["sgd", "lars"])
def test_momentum_comes_back_from_a_checkpoint(kind, tmp_path):
    method, _ = tiny("image.ijepa")
    optimizer = optimizer_of(method, Optim(kind=kind))
    for p in method.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    path = disk.write(tmp_path, disk.capture(1, method, optimizer, {}))
    other, _ = tiny("image.ijepa")
    again = optimizer_of(other, Optim(kind=kind))
    disk.restore(disk.read(path), other, again, path)
    held = [(optimizer.state[p], again.state[q]) for p, q in zip(method.parameters(), other.parameters(), strict=True)]
    assert any(state for state, _ in held)
    assert all(torch.equal(value, two[name]) for one, two in held for name, value in one.items())


def test_momentum_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="momentum is 1"):
        Optim(kind="sgd", momentum=1.0)
