"""Twelve optimizer steps of I-JEPA, with schedules, decay of the mask token and teacher, equal the released ones."""

from __future__ import annotations

import json

import torch

from armillary.functional.distance import smooth_l1
from armillary.functional.schedule import progress
from armillary.training.optim import Optim, optimizer_of, schedule
from armillary.types import Masks

from .fixture import close, fill_predictor, fill_vit, golden, part
from .test_ijepa import method_of


def test_training_equals_the_released_one():
    weights, meta = golden("image-video/ijepa_tiny")
    t, hyper = golden("image-video/ijepa_tiny_training")
    found = [v for v in hyper.values() if isinstance(v, dict) and "ipe" in v]
    h = found[0] if found else json.loads(hyper["hyper"])
    method = method_of(meta["config"]).train()
    method.config = type(method.config)(**{**vars(method.config), "momentum": tuple(h["ema"])})
    fill_vit(method.encoder, part(weights, "encoder/"))
    fill_vit(method.teacher.module, part(weights, "target_encoder/"))
    fill_predictor(method.predictor, part(weights, "predictor/"))
    steps = h["ipe"] * h["epochs"]
    optim = Optim(
        h["lr"], h["start_lr"], h["final_lr"], h["warmup"] / h["epochs"], weight_decay=h["wd"],
        final_weight_decay=h["final_wd"], stretch=h["ipe_scale"], decay_mask_token=True,
    )  # fmt: skip
    optimizer = optimizer_of(method, optim)
    masks = Masks(t["in/masks_enc"][0], t["in/masks_pred"].transpose(0, 1))
    first, last = h["ema"]
    for step in range(1, steps + 1):
        rate, decay = schedule(optimizer, optim, step, steps)
        loss = smooth_l1(*method.predict(t["in/imgs_per_step"][step - 1], masks))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        share = progress(step, steps, optim.stretch)
        method.after_step(share)
        row = torch.tensor([loss.item(), rate, decay, first + (last - first) * share], dtype=torch.float64)
        close(row, t["out/loss_lr_wd_ema"][step - 1], rtol=1e-4, atol=1e-6)
    qkv = "blocks.0.attn.qkv.weight"
    close(dict(method.encoder.trunk.named_parameters())[qkv], t[f"out/final/encoder.{qkv}"])
    close(dict(method.teacher.module.trunk.named_parameters())[qkv], t[f"out/final/target_encoder.{qkv}"])
    close(method.encoder.trunk.norm.bias, t["out/final/encoder.norm.bias"])
    close(method.predictor.out.weight, t["out/final/predictor.predictor_proj.weight"])
