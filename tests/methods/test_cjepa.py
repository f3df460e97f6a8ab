"""C-JEPA is I-JEPA with terms beside it, and those are VICReg's on the means of blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from armillary.contracts import build
from armillary.methods.image import cjepa, ijepa
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    return cjepa.tiny()


def test_without_its_terms_it_is_ijepa(made):
    method, batch = made
    plain = build(replace(method.config, vicreg_weight=0.0), 3)
    same = ijepa.Config(plain.config.encoder, predictor_width=16, predictor_depth=1, predictor_heads=2)
    other = build(same, 4)
    other.load_state_dict(plain.state_dict())
    random = Random(0, 1, batch["index"])
    energies = [m.energy(m.loss(batch, random)) for m in (plain, other)]
    assert torch.equal(*energies)
    assert not torch.equal(energies[0], method.energy(method.loss(batch, random)))


def test_terms_equal_pairs_of_blocks(made):
    """Over ordered pairs of different blocks, each pair with the terms of both, written out."""
    method, _ = made
    predicted, target = torch.randn(8, 4, 6, 5), torch.randn(8, 4, 6, 5)
    terms = method.regularizers(predicted, target)
    pooled = predicted.mean(2)

    def spread(z):
        return (1 - (z.var(0) + 1e-4).sqrt()).relu().mean()

    def linked(z):
        c = torch.cov(z.T)
        return (c.square().sum() - c.diagonal().square().sum()) / 5

    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    for name, term in (("variance", spread), ("covariance", linked)):
        wanted = sum(term(pooled[:, i]) + term(pooled[:, j]) for i, j in pairs) / len(pairs)
        assert torch.allclose(terms[name], wanted, rtol=1e-4), name
    assert torch.allclose(terms["invariance"], (pooled - target.mean(2)).square().mean())


def test_collapsed_predictions_cost_most(made):
    method, _ = made
    target = torch.randn(8, 4, 6, 5)
    collapsed = method.regularizers(torch.zeros(8, 4, 6, 5), target)
    assert torch.allclose(collapsed["variance"], torch.tensor(2 * (1 - 0.01)))
    assert method.regularizers(torch.randn(8, 4, 6, 5) * 9, target)["variance"] < 0.5


def test_target_gets_no_gradient_and_predictions_do(made):
    method, batch = made
    method.energy(method.loss(batch, Random(0, 1, batch["index"]))).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    method.zero_grad()
    terms = method.regularizers(*method.predict(batch["image"], method.masks(batch, Random(0, 1, batch["index"]))))
    terms["variance"].backward()
    assert method.encoder.tokenizer.proj.weight.grad.abs().max() > 0


def test_teacher_is_the_average_in_closed_form(made):
    method, _ = made
    start = method.teacher.module.tokenizer.proj.weight.clone()
    new = torch.randn_like(start)
    with torch.no_grad():
        method.encoder.tokenizer.proj.weight.copy_(new)
    for _ in range(5):
        method.after_step(0.0)  # momentum 0.9
    wanted = 0.9**5 * start + (1 - 0.9**5) * new
    assert torch.allclose(method.teacher.module.tokenizer.proj.weight, wanted, atol=1e-6)
    method.after_step(1.0)  # momentum 1
    assert torch.allclose(method.teacher.module.tokenizer.proj.weight, wanted, atol=1e-6)
