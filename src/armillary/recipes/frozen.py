"""World models on a frozen encoder of ours: I-JEPA learns to see, then DINO-WM and others what actions do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..data.episodes import Episodes
from ..data.stills import Stills
from ..envs.two_rooms import TwoRooms
from ..errors import ConfigError
from ..methods.control import dino_wm, jepa_wm, vjepa2_ac
from ..methods.image import ijepa
from ..nn.encoder import ViT
from ..nn.frozen import Frozen
from ..planning.cem import CEM
from ..planning.settings import Planning
from ..training.checkpoint import MODEL, newest
from ..training.loop import Loop
from ..training.optim import Optim
from .run import Run, read

SKIP = 3  # raw steps of a macro-step
SEEING = ViT(image=64, patch=8, width=64, depth=3, heads=2, init="xavier")
SEEN = 2000  # steps of the I-JEPA whose last checkpoint the world models take
ENCODER = Frozen(SEEING, f"runs/ijepa_two_rooms/checkpoints/step-{SEEN:08d}/{MODEL}", "teacher.module")


def pretrained(folder: str, part: str = "") -> Frozen:
    """The encoder of a finished run of ours, for `Config(encoder=...)` in a recipe of your own.

    folder: e.g. runs/ijepa_two_rooms; its newest undamaged checkpoint is named, so that the run stays the same when the
    other one trains on. part: of the model, by default the averaged teacher where there is one, else the encoder.
    Raises:
        CheckpointError: no run there, or no checkpoint.
        ConfigError: its encoder is no vision transformer.
    """
    method = read(Path(folder)).get("values", {}).get("method", {})  # type: ignore[union-attr]
    sizes = method.get("encoder")
    try:
        vit = ViT(**sizes)
    except TypeError:
        raise ConfigError(
            f"the encoder of {folder} is {sizes}: a frozen encoder must be a vision transformer"
        ) from None
    file = newest(Path(folder))[0] / MODEL
    return Frozen(vit, str(file), part or ("teacher.module" if "momentum" in method else "encoder"))


def ijepa_two_rooms() -> Run:
    """I-JEPA on single frames of Two Rooms: the encoder that the recipes below freeze; not measured yet.

    First `armillary collect lewm_two_rooms`.
    """
    return Run(
        method=ijepa.Config(
            SEEING, predictor_width=32, predictor_depth=2, predictor_heads=2, momentum=(0.99, 1.0), crop_scale=(1, 1)
        ),
        data=Stills(path="data/two_rooms"),
        optim=Optim(lr=1e-3, final_lr=1e-5, weight_decay=0.05, final_weight_decay=0.05),
        loop=Loop(precision="fp32", threads=1),
        steps=SEEN,
        batch=64,
    )


def dino_wm_two_rooms() -> Run:
    """DINO-WM on Two Rooms, small, under the frozen encoder of `ijepa_two_rooms`, which comes first; not measured yet.

    `--method.encoder.file ""` takes a random encoder instead, as a control.
    """
    return Run(
        method=dino_wm.Config(
            ENCODER, action=2 * SKIP, action_width=8, history=2, depth=2, heads=2, head_width=36, hidden=256,
            dropout=0.0,
        ),
        data=Episodes(path="data/two_rooms", window=3, frame_skip=SKIP),
        world=TwoRooms(door_share=0.3),
        planning=Planning(
            CEM(horizon=6, samples=100, elites=8, iterations=3, correlation=0.7, keep_elites=4),
            earlier_weight=0.03, execute=3, goals=50,
        ),
        optim=Optim(lr=1e-3, warmup=0.05, weight_decay=1e-3, final_weight_decay=1e-3, final_lr=2e-5, clip=1.0),
        loop=Loop(precision="fp32", monitor=64, threads=1),
        steps=2000,
        batch=32,
    )  # fmt: skip


def vjepa2_ac_two_rooms() -> Run:
    """V-JEPA 2-AC on Two Rooms, small, without a state token, beside `dino_wm_two_rooms`; not measured yet."""
    base = dino_wm_two_rooms()
    method = vjepa2_ac.Config(ENCODER, action=2 * SKIP, proprio=0, history=2, width=72, depth=2, heads=2, init="xavier")
    return replace(base, method=method)


def jepa_wm_two_rooms() -> Run:
    """JEPA-WM on Two Rooms, small, beside `dino_wm_two_rooms`; not measured yet."""
    base = dino_wm_two_rooms()
    method = jepa_wm.Config(ENCODER, action=2 * SKIP, history=2, width=72, depth=2, heads=2, init="xavier")
    return replace(base, method=method, data=replace(base.data, window=4))
