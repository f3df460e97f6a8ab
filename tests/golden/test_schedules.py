"""Learning rate, weight decay and momentum are those of the released schedulers, step by step."""

from __future__ import annotations

import pytest

from armillary.functional.schedule import learning_rate, progress, weight_decay
from armillary.training.optim import Optim

from .fixture import golden


def cases() -> dict[str, tuple[dict, dict]]:
    tensors, meta = golden("image-video/schedules")
    return {
        name: (config, {part: tensors[f"{name}/{part}"].tolist() for part in ("step", "lr", "wd", "ema")})
        for name, config in meta["config"].items()
    }


def optim_of(config: dict) -> Optim:
    """The released configuration, in epochs and iterations per epoch, as ours, in shares of all steps."""
    hold = config["epochs"] - config["warmup"] - config["anneal"] if "anneal" in config else 0
    return Optim(
        lr=config["lr"],
        start_lr=config.get("start_lr", 0.0),
        final_lr=config["final_lr"],
        warmup=config.get("warmup", 0) / config["epochs"],
        hold=hold / config["epochs"],
        shape="linear" if "WSD" in config["source"] or "Linear" in config["source"] else "cosine",
        weight_decay=config["wd"],
        final_weight_decay=config["final_wd"],
        stretch=config.get("ipe_scale", 1.0),
    )


def test_learning_rate_equals_the_released_one():
    for name, (config, table) in cases().items():
        optim, steps = optim_of(config), config["epochs"] * config["ipe"]
        found = [optim.rate(step, steps) for step in table["step"]]
        assert found == pytest.approx(table["lr"], rel=1e-13, abs=1e-18), name


def test_weight_decay_equals_the_released_one():
    for name, (config, table) in cases().items():
        optim, steps = optim_of(config), config["epochs"] * config["ipe"]
        found = [optim.decay(step, steps) for step in table["step"]]
        assert found == pytest.approx(table["wd"], rel=1e-13), name


def test_momentum_of_a_teacher_equals_the_released_one():
    """Methods compute m0 + (m1 - m0) * progress; the first update uses m0."""
    checked = 0
    for name, (config, table) in cases().items():
        if "ema" not in config:
            continue
        first, last = config["ema"]
        steps, stretch = config["epochs"] * config["ipe"], config["ipe_scale"]
        found = [first + (last - first) * progress(step, steps, stretch) for step in table["step"]]
        assert found == pytest.approx(table["ema"], rel=1e-13), name
        assert found[0] == first
        checked += 1
    assert checked >= 1


def test_the_warm_up_ends_where_the_released_one_does():
    """Whole steps of the training, not of the stretched schedule."""
    config, _ = next(iter(cases().values()))
    steps, warmup = config["epochs"] * config["ipe"], config["warmup"] * config["ipe"]
    assert optim_of(config).rate(warmup, steps) == config["lr"]
    assert optim_of(config).rate(warmup - 1, steps) < config["lr"]
    assert learning_rate(warmup, steps, warmup, 0.0, 1.0, 0.0) == 1.0
    assert weight_decay(steps, steps, 1.0, 0.25) == 0.25
