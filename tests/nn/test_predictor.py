"""The mask predictor: blocks alone or together, and conditions that mask tokens carry."""

from __future__ import annotations

import pytest
import torch

from armillary.contracts import build
from armillary.errors import ShapeError
from armillary.methods.image import ijepa
from armillary.nn.predictor import MaskPredictor
from armillary.randomness import Random
from armillary.types import Tokens

DRAW = torch.Generator().manual_seed(0)
CONTEXT = Tokens(torch.randn(3, 5, 8, generator=DRAW), torch.rand(3, 5, 2, generator=DRAW) * 4)
QUERY = torch.rand(3, 2, 4, 2, generator=DRAW) * 4


def made(**options) -> MaskPredictor:
    torch.manual_seed(0)
    return MaskPredictor(8, 16, 2, 2, init="xavier", **options).eval()


def test_blocks_alone_do_not_see_each_other():
    predictor, other = made(), QUERY.clone()
    other[:, 1] += 1.0
    assert torch.equal(predictor(CONTEXT, QUERY)[:, 0], predictor(CONTEXT, other)[:, 0])


def test_blocks_in_a_shared_sequence_do():
    predictor, other = made(shared=True), QUERY.clone()
    other[:, 1] += 1.0
    assert not torch.allclose(predictor(CONTEXT, QUERY)[:, 0], predictor(CONTEXT, other)[:, 0], atol=1e-4)


def test_a_shared_sequence_is_one_block_of_all_targets():
    alone, shared = made(), made(shared=True)
    together = alone(CONTEXT, QUERY.flatten(1, 2)[:, None])
    torch.testing.assert_close(shared(CONTEXT, QUERY), together.view(3, 2, 4, 8))
    torch.testing.assert_close(shared(CONTEXT, QUERY[:, :1]), alone(CONTEXT, QUERY[:, :1]))


def test_condition_moves_predictions_of_its_row_only():
    predictor, told = made(condition=3), torch.zeros(3, 3)
    other = told.clone()
    other[1] = 1.0
    one, two = predictor(CONTEXT, QUERY, told), predictor(CONTEXT, QUERY, other)
    torch.testing.assert_close(one[[0, 2]], two[[0, 2]])
    assert not torch.allclose(one[1], two[1], atol=1e-3)


@pytest.mark.parametrize(("condition", "given"), [(3, None), (0, torch.zeros(3, 2)), (3, torch.zeros(3, 2))])
def test_conditions_that_do_not_fit_are_refused(condition, given):
    with pytest.raises(ShapeError, match=f"condition of {condition} numbers"):
        made(condition=condition)(CONTEXT, QUERY, given)


def test_width_of_predictions_can_differ_from_the_context_s():
    assert made(out=11)(CONTEXT, QUERY).shape == (3, 2, 4, 11)


def test_ijepa_takes_a_shared_sequence():
    """Same weights and masks, another number of sequences."""
    method, batch = ijepa.tiny()
    config = method.config
    alone, shared = build(config, 1), build(ijepa.Config(**{**vars(config), "predictor": "shared"}), 1)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), shared.parameters(), strict=True))
    random = Random(0, 1, batch["index"])
    assert not torch.equal(alone.loss(batch, random)["prediction"], shared.loss(batch, random)["prediction"])
    assert shared.predictor.shared and not alone.predictor.shared
