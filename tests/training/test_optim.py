"""Which parameters decay, and what the optimizer is told."""

from __future__ import annotations

import pytest
import torch

from armillary.training.optim import Optim, adamw, schedule

from .rows import METHODS, tiny


@pytest.mark.parametrize("name", METHODS)
def test_only_matrices_decay_and_everything_that_trains_is_there_once(name):
    method, _ = tiny(name)
    names = {p: n for n, p in method.named_parameters()}
    optimizer = adamw(method, Optim())
    decayed, plain = ([names[p] for p in group["params"]] for group in optimizer.param_groups)
    assert sorted(decayed + plain) == sorted(n for n, p in method.named_parameters() if p.requires_grad)
    assert not any(n.endswith(("bias", "mask_token")) or "norm" in n.rpartition(".")[0] for n in decayed)
    assert optimizer.param_groups[1]["weight_decay"] == 0.0


def test_the_released_decay_of_the_mask_token_is_an_option():
    method, _ = tiny("image.ijepa")
    token = method.predictor.mask_token
    decayed = {flag: adamw(method, Optim(decay_mask_token=flag)).param_groups[0]["params"] for flag in (False, True)}
    assert not any(p is token for p in decayed[False])
    assert any(p is token for p in decayed[True])


def test_the_schedule_reaches_both_groups():
    optim = Optim(lr=1.0, weight_decay=0.1, final_weight_decay=0.3)
    optimizer = adamw(torch.nn.Linear(2, 2), optim)
    rate, decay = schedule(optimizer, optim, 5, 10)
    assert [group["lr"] for group in optimizer.param_groups] == [rate, rate]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0]
    assert 0.1 < decay < 0.3
