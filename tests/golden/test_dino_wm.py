"""DINO-WM's predictor computes what the original code computed: mask, predictions, loss without the action's part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.functional.distance import squared
from armillary.functional.frames import frame_causal
from armillary.nn.frames import FramePredictor

from .fixture import close, fill, golden, part

RENAMES = [
    ("pos_embedding", "position"), ("transformer.norm", "norm"), ("transformer.layers.", "blocks."),
    ("0.norm.", "attn_norm."), ("0.to_qkv", "attn.qkv"), ("0.to_out.0", "attn.proj"), ("1.net.0", "mlp_norm"),
    ("1.net.1", "fc1"), ("1.net.4", "fc2"),
]  # fmt: skip
ACTION = 5  # last numbers of a token


@pytest.fixture
def released() -> tuple[FramePredictor, dict[str, Tensor], int, int]:
    t, meta = golden("dinowm/predictor_block_causal")
    sizes = {name: int(meta[name]) for name in ("dim", "depth", "heads", "dim_head", "mlp_dim")}
    frames, patches = int(meta["num_frames"]), int(meta["num_patches"])
    predictor = FramePredictor(sizes["dim"], frames, patches, *list(sizes.values())[1:], dropout=0.0)
    state = part(t, "state_dict.", ())
    for layer in range(sizes["depth"]):  # `layers.1.1.net.0` must not be taken for the first part of a block
        for key in [key for key in state if key.startswith(f"transformer.layers.{layer}.")]:
            inner = key.removeprefix(f"transformer.layers.{layer}.")
            for old, new in RENAMES[3:]:
                inner = new + inner[len(old) :] if inner.startswith(old) else inner
            state[f"blocks.{layer}.{inner}"] = state.pop(key)
    fill(predictor, state, RENAMES[:2])
    return predictor.eval(), t, frames, patches


def framed(x: Tensor, patches: int) -> Tensor:
    return x.unflatten(1, (-1, patches))


def test_mask_is_the_released_one(released):
    _, t, frames, patches = released
    assert torch.equal(frame_causal(frames, patches), t["mask_3frames_4patches"][0, 0].bool())


def test_predictions_equal_the_released_ones_for_one_frame_and_for_three(released):
    predictor, t, _, patches = released
    close(predictor(framed(t["x"], patches)).flatten(1, 2), t["y"])
    close(predictor(framed(t["x"][:, :patches], patches)).flatten(1, 2), t["y_one_frame_context"])


def test_a_changed_last_frame_leaves_earlier_predictions(released):
    """The fixture's change is the same for all features, which norms remove; tests/nn/test_frames.py changes more."""
    predictor, t, _, patches = released
    changed, y = framed(t["y_when_last_frame_changed"], patches), predictor(framed(t["x"], patches))
    close(y[:, :-1], changed[:, :-1])


def test_loss_leaves_out_what_stands_at_the_action(released):
    predictor, t, _, patches = released
    y = predictor(framed(t["x"], patches)).flatten(1, 2)
    close(squared(y[..., :-ACTION], t["target"][..., :-ACTION]), t["z_loss_excluding_last5_action_dims"])
