"""V-JEPA 2-AC's predictor computes what the original code computed, and so do its two losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.contracts import build
from armillary.functional.distance import smooth_l1
from armillary.functional.frames import frame_causal
from armillary.methods.control import vjepa2_ac
from armillary.nn.encoder import ViT
from armillary.nn.frames import TokenPredictor
from armillary.nn.frozen import Frozen

from .fixture import PREDICTOR, close, fill, golden, part

RENAMES = [
    *PREDICTOR, ("action_encoder", "conditions.0"), ("state_encoder", "conditions.1"),
    ("extrinsics_encoder", "conditions.2"),
]  # fmt: skip


@pytest.fixture
def released() -> tuple[dict[str, Tensor], dict]:
    t, meta = golden("image-video/vjepa2_ac_tiny")
    return t, meta["config"]


def predictor_of(t: dict[str, Tensor], c: dict, prefix: str, conditions: tuple[int, ...]) -> TokenPredictor:
    made = TokenPredictor(c["dim"], c["pdim"], c["depth"], c["heads"], c["img"] // c["patch"], conditions)
    fill(made, part(t, prefix), RENAMES, ignore=() if len(conditions) == 3 else ("extrinsics_encoder",))
    return made.eval().double()


def framed(t: dict[str, Tensor], c: dict) -> Tensor:
    return t["in/tokens"].double().unflatten(1, (-1, (c["img"] // c["patch"]) ** 2))


def test_mask_is_the_released_one(released):
    t, c = released
    assert torch.equal(frame_causal(c["frames"] // c["tubelet"], (c["img"] // c["patch"]) ** 2 + 2),
                       t["out/attn_mask_2cond"])  # fmt: skip


def test_predictions_equal_the_released_ones_for_one_to_three_frames(released):
    t, c = released
    predictor, z = predictor_of(t, c, "predictor/", (7, 7)), framed(t, c)
    action, state = t["in/actions"].double(), t["in/states"].double()
    for frames, name in ((1, "predict_1frame_raw"), (2, "predict_2frames_raw"), (3, "predict_Tminus1_raw")):
        found = predictor(z[:, :frames], action[:, :frames], state[:, :frames])
        close(found.flatten(1, 2), t[f"out/{name}"])


def test_a_third_token_per_frame_gives_the_released_predictions_with_extrinsics(released):
    t, c = released
    predictor, told = predictor_of(t, c, "predictor_extrinsics/", (7, 7, 6)), ("actions", "states", "extrinsics")
    found = predictor(framed(t, c)[:, :-1], *(t[f"in/{name}"][:, :3].double() for name in told))
    close(found.flatten(1, 2), t["out/extrinsics/predict_Tminus1_raw"])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_both_losses_and_the_rollout_equal_the_released_ones(released, steps):
    t, c = released
    vit = ViT(image=c["img"], patch=c["patch"], width=c["dim"], depth=1, heads=2)
    method = build(vjepa2_ac.Config(Frozen(vit), history=3, rollout=steps, width=c["pdim"], depth=c["depth"],
                                    heads=c["heads"]))  # fmt: skip
    assert isinstance(method, vjepa2_ac.VJEPA2AC)
    fill(method.predictor, part(t, "predictor/"), RENAMES, ignore=("extrinsics_encoder",))
    z = framed(t, c).float()
    forced, free = method.unrolled(z, t["in/actions"], t["in/states"])
    close(forced.flatten(1, 2), t["out/z_teacher_forced"])
    close(free.flatten(1, 2), t[f"out/auto_steps{steps}/z_ar"])
    terms = [smooth_l1(forced, z[:, 1:4], beta=0.0), smooth_l1(free, z[:, 1 : steps + 1], beta=0.0)]
    close(terms[0], t[f"out/auto_steps{steps}/jloss"])
    close(terms[1], t[f"out/auto_steps{steps}/sloss"])
    close(terms[0] + terms[1], t[f"out/auto_steps{steps}/loss"])
