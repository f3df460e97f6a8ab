"""A frozen encoder: weights of another run, strictly, and never a step, a gradient or a change of mode."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from armillary.errors import CheckpointError, ShapeError
from armillary.methods.image import ijepa
from armillary.nn.encoder import VisionTransformer, ViT
from armillary.nn.frozen import Frozen, FrozenEncoder
from armillary.randomness import numbered

VIT = ViT(image=32, patch=8, width=32, depth=2, heads=2)  # that of ijepa.tiny
FRAMES = numbered(2).normal("image", 3, 3, 32, 32)


@pytest.fixture
def run_file(tmp_path):
    torch.manual_seed(0)
    method = ijepa.tiny()[0]
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.5)  # so that teacher and encoder differ
    file = tmp_path / "model.safetensors"
    save_file(method.state_dict(), file)
    return method, str(file)


def test_weights_are_those_of_the_named_part_of_the_file(run_file):
    method, file = run_file
    student, teacher = (FrozenEncoder(Frozen(VIT, file, part)) for part in ("encoder", "teacher.module"))
    flat = FRAMES.flatten(0, 1)
    assert torch.equal(student(FRAMES).flatten(0, 1), method.encoder.eval()(flat).x)
    assert torch.equal(teacher(FRAMES).flatten(0, 1), method.teacher(flat).x)
    assert not torch.allclose(student(FRAMES), teacher(FRAMES), atol=1e-2)


@pytest.mark.parametrize(
    ("vit", "part"), [(ViT(image=32, patch=8, width=32, depth=1, heads=2), "encoder"), (VIT, "predictor"), (VIT, "no")]
)
def test_weights_that_do_not_fit_are_refused(run_file, vit, part):
    with pytest.raises(CheckpointError, match="do not fit"):
        FrozenEncoder(Frozen(vit, run_file[1], part))


def test_a_missing_file_is_named():
    with pytest.raises(CheckpointError, match=r"no file 'nowhere/model\.safetensors'"):
        FrozenEncoder(Frozen(VIT, "nowhere/model.safetensors"))


def test_it_never_trains():
    encoder = FrozenEncoder(Frozen(VIT))
    holder = torch.nn.Sequential(encoder).train()
    assert not any(part.training for part in encoder.modules()) and holder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(FRAMES.clone().requires_grad_()).requires_grad


def test_frames_do_not_see_each_other_and_the_class_token_is_left_out():
    torch.manual_seed(0)
    encoder = FrozenEncoder(Frozen(ViT(image=32, patch=8, width=32, depth=1, heads=2, class_token=True)))
    found = encoder(FRAMES)
    assert found.shape == (2, 3, 16, 32)
    torch.testing.assert_close(encoder(FRAMES[:, 1:2]), found[:, 1:2])


def test_tokens_know_where_they_are():
    encoder = FrozenEncoder(Frozen(VIT))
    window, single = encoder.tokens(FRAMES), encoder.tokens(FRAMES[:, 1])
    assert window.x.shape == (2, 48, 32) and window.pos.shape == (2, 48, 3) and single.pos.shape == (2, 16, 2)
    at = (window.pos[0, :, 0] == 1).nonzero()[:, 0]
    torch.testing.assert_close(window.x[:, at], single.x)
    assert torch.equal(window.pos[:, at, 1:], single.pos)
    assert isinstance(encoder.module, VisionTransformer)


def test_frames_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"16x16 pixels.*made for 32x32"):
        FrozenEncoder(Frozen(VIT))(FRAMES[..., :16, :16])
