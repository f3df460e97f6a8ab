"""Encoders of finished runs, for world models: which file, which sizes, which part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from armillary.contracts import build
from armillary.data.formats.images import Images
from armillary.errors import CheckpointError, ConfigError
from armillary.methods.control import dino_wm, lewm
from armillary.methods.image import ijepa, lejepa
from armillary.nn.frozen import FrozenEncoder
from armillary.randomness import Random, numbered
from armillary.recipes import frozen
from armillary.recipes import run as runs
from armillary.recipes.run import Run
from armillary.training import checkpoint


def finished(folder: Path, module) -> torch.nn.Module:
    """A run folder as training leaves it, at step 3."""
    method = module.tiny()[0]
    runs.save(folder, Run(method.config, Images("somewhere"), steps=3, batch=4), "recipe")
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad])
    checkpoint.write(folder, checkpoint.capture(3, method, optimizer, {}))
    return method


@pytest.mark.parametrize(("module", "part"), [(ijepa, "teacher.module"), (lejepa, "encoder")])
def test_the_encoder_of_a_run_is_found_with_its_sizes(tmp_path, module, part):
    torch.manual_seed(0)
    method = finished(tmp_path, module)
    found = frozen.pretrained(str(tmp_path))
    assert found.part == part and found.vit == method.config.encoder
    assert Path(found.file) == tmp_path / "checkpoints" / "step-00000003" / "model.safetensors"
    side = found.vit.image
    image = numbered(2).normal("image", 3, side, side)
    source = method.teacher.module if part.startswith("teacher") else method.encoder
    assert torch.equal(FrozenEncoder(found)(image[:, None])[:, 0], source.eval()(image).x)


def test_a_world_model_is_trained_on_it_and_its_checkpoint_holds_it(tmp_path):
    torch.manual_seed(0)
    source = finished(tmp_path, ijepa)
    tiny, batch = dino_wm.tiny()
    config = replace(tiny.config, encoder=frozen.pretrained(str(tmp_path)))
    method = build(config, seed=4)
    batch = {**batch, "image": numbered(8).normal("image", 4, 3, 32, 32)}
    method.loss(batch, Random(0, 1, batch["index"]))["prediction"].backward()
    held = {k.removeprefix("encoder.module."): v for k, v in method.state_dict().items() if k.startswith("encoder.")}
    wanted = source.teacher.module.state_dict()
    assert held.keys() == wanted.keys() and all(torch.equal(held[k], wanted[k]) for k in wanted)


def test_runs_without_a_transformer_or_a_checkpoint_are_refused(tmp_path):
    finished(tmp_path / "conv", lewm)
    with pytest.raises(ConfigError, match="must be a vision transformer"):
        frozen.pretrained(str(tmp_path / "conv"))
    with pytest.raises(CheckpointError, match="no run"):
        frozen.pretrained(str(tmp_path / "nothing"))
    runs.save(tmp_path / "young", Run(ijepa.tiny()[0].config, Images("somewhere"), steps=3, batch=4), "recipe")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        frozen.pretrained(str(tmp_path / "young"))


def test_recipes_take_the_last_checkpoint_of_the_i_jepa_recipe_in_its_sizes():
    source = frozen.ijepa_two_rooms()
    for recipe in (frozen.dino_wm_two_rooms, frozen.vjepa2_ac_two_rooms, frozen.jepa_wm_two_rooms):
        encoder = recipe().method.encoder
        assert encoder.vit == source.method.encoder and f"/step-{source.steps:08d}/" in encoder.file
        assert recipe().data.path == source.data.path
