"""Transitions: a GRU cell by its equations, states in float32, and an MLP that adds a change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.nn.recurrent import GRUTransition, ResidualTransition
from armillary.randomness import numbered

Z, ACTION = numbered(5).normal("z", 6), numbered(5).normal("action", 2)


def made(kind):
    torch.manual_seed(0)
    return GRUTransition(6, 2) if kind == "gru" else ResidualTransition(6, 2, 8)


def test_gru_is_the_cell_of_its_equations_with_the_latent_as_state():
    cell = made("gru")
    p = {name: value.detach().double().numpy() for name, value in cell.cell.named_parameters()}
    z, a = Z.double().numpy(), ACTION.double().numpy()
    into, back = a @ p["weight_ih"].T + p["bias_ih"], z @ p["weight_hh"].T + p["bias_hh"]
    (r, u, n), (rr, uu, nn) = np.split(into, 3, 1), np.split(back, 3, 1)
    reset, update = 1 / (1 + np.exp(-r - rr)), 1 / (1 + np.exp(-u - uu))
    expected = (1 - update) * np.tanh(n + reset * nn) + update * z
    np.testing.assert_allclose(cell(Z, ACTION).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_gru_stays_float32_under_autocast():
    cell = made("gru")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cell(Z, ACTION), made("gru")(Z, ACTION))


def test_residual_adds_to_the_latent():
    transition = made("mlp")
    with torch.no_grad():
        transition.change[-1].weight.zero_(), transition.change[-1].bias.fill_(0.5)
    assert torch.equal(transition(Z, ACTION), Z + 0.5)


@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_rows_are_alone_and_both_inputs_count(kind):
    transition = made(kind)
    out = transition(Z, ACTION)
    assert out.shape == Z.shape and torch.allclose(transition(Z[2:3], ACTION[2:3]), out[2:3], atol=1e-6)
    assert not torch.allclose(transition(Z, -ACTION), out, atol=1e-3)
    assert not torch.allclose(transition(-Z, ACTION), out, atol=1e-3)
