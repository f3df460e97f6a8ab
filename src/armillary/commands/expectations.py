"""How sure a world model is of the next latent, and whether it notices what cannot be, on episodes of fresh seeds."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Method
from ..data.episodes import Episodes
from ..data.physics import Physics
from ..data.statistics import Statistics
from ..diagnostics.risk import judge
from ..diagnostics.surprise import standardized, violation_of_expectation
from ..envs.tasks import World
from ..envs.two_rooms import TwoRooms
from ..envs.violations import KINDS, violate
from ..functional.gaussian import Gaussian
from ..planning.one_step import Expected, expected
from ..planning.windows import SEEN
from ..probes.predictive import Config, Fitted, fit_ensemble, fit_quantiles
from ..randomness import numbered
from ..recipes.run import Json, Run
from ..types import Batch
from . import worlds

SEED, PAIRS = 2_000_000, 3_000_000  # of the episodes, and of those with twins; training and planning use neither
AT_ONCE = 100  # episodes that are made and encoded together
STEPS = 12  # macro-steps of an episode
HELD = Config(calibration=0.2, test=0.5)  # half of the episodes are scored, on three tenths is fitted


@runtime_checkable
class Source(Protocol):
    """Episodes that no training saw, and impossible twins of them."""

    kinds: tuple[str, ...]

    def episodes(self, seed: int, count: int) -> Batch:
        """Raw: image [n, T, C, h, w], action [n, T - 1, A]."""
        ...

    def twins(self, kind: str, seed: int, count: int) -> tuple[Batch, Batch]:
        """Possible and impossible ones, row by row; those that offered an occasion among `count`."""
        ...

    def prepare(self, batch: Batch) -> Batch:
        """As methods receive it."""
        ...


class WorldSource:
    """Episodes of random actions in a run's world, of `STEPS` macro-steps; violations where the world is Two Rooms."""

    def __init__(self, run: Run, statistics: Statistics):
        self.run, self.prepare, self.skip = run, statistics.prepare, worlds.of_world(run)[0].frame_skip
        self.kinds: tuple[str, ...] = KINDS if isinstance(run.world, TwoRooms) and not run.world.random_wall else ()

    def episodes(self, seed: int, count: int) -> Batch:
        """See `Source`; with `state` [n, T, S]."""
        world: World = self.run.world.open(count)
        seen, actions = world.reset(seed), world.wander(numbered(count, seed), STEPS * self.skip)
        kept = [seen]
        for t, action in enumerate(actions.unbind(1), 1):
            seen = world.step(action)[0]
            kept += [seen] if t % self.skip == 0 else []
        frames = {key: torch.stack([at[key] for at in kept], 1) for key in ("image", "state")}
        return {"index": torch.arange(count), "action": actions.reshape(count, STEPS, -1), **frames}

    def twins(self, kind: str, seed: int, count: int) -> tuple[Batch, Batch]:
        """See `Source`."""
        usual, rules = self.episodes(seed, count), self.run.world
        assert isinstance(rules, TwoRooms)
        broken = violate(rules, usual, kind, numbered(count, seed))
        shown = broken["violation"] >= 0
        return {k: v[shown] for k, v in usual.items()}, {k: v[shown] for k, v in broken.items()}


class ClipSource:
    """Generated clips of a run that was trained on them."""

    def __init__(self, config: Physics):
        self.config, self.prepare, self.kinds = config, config.open("test").prepare, config.kinds

    def episodes(self, seed: int, count: int) -> Batch:
        """See `Source`."""
        return self.config.clips(numbered(count, seed))

    def twins(self, kind: str, seed: int, count: int) -> tuple[Batch, Batch]:
        """See `Source`."""
        return replace(self.config, kinds=(kind,)).pairs(numbered(count, seed))


def source_of(run: Run, folder: Path) -> Source | None:
    """Where a run's episodes come from; None where they cannot be made anew."""
    if isinstance(run.data, Physics):
        return ClipSource(run.data)
    if run.world is None or not isinstance(run.data, Episodes):
        return None
    return WorldSource(run, Statistics.load(folder / "statistics.json"))


def uncertain(method: Method, source: Source, count: int, tell: worlds.Tell = worlds.silent) -> dict[str, Fitted]:
    """Small predictors of the errors of the model's next latents, fitted on a part of `count` episodes.

    quantiles: intervals of the error of each latent dimension. ensemble: Gaussians that may disagree.
    """
    parts: list[Expected] = []
    for first in range(0, count, AT_ONCE):
        parts.append(_expected(method, source, source.episodes(SEED + first, min(AT_ONCE, count - first))))
        tell("reading episodes of fresh seeds", min(count, first + AT_ONCE), count)
    z, action, predicted, came = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("before", "action", "predicted", "came")
    )
    episode = torch.arange(count).repeat_interleave(z.shape[1])
    z, action, error = (x.flatten(0, 1) for x in (z, action, came - predicted))
    fitted = {}
    for name, fit in (("quantiles", fit_quantiles), ("ensemble", fit_ensemble)):
        tell(f"fitting {name}", count, count)
        fitted[name] = fit(z, action, error, episode, HELD)
    return fitted


def uncertainty_part(fitted: dict[str, Fitted]) -> Json:
    """How far each can be trusted, on the episodes that it was not fitted to; see `Judgement`."""
    return {name: _named(asdict(judge(each.test, each.calibration))) for name, each in fitted.items()}


def surprise_part(method: Method, source: Source, ensemble: Fitted, pairs: int) -> Json:
    """Surprise at episodes and at their impossible twins, by kind of violation and over all kinds together.

    Surprise is the error of the next latent in units of what the ensemble expects of it.
    """

    def surprise(raw: Batch) -> Float[Tensor, "n U"]:
        seen = _expected(method, source, raw)
        likely = ensemble.predict(seen.before.flatten(0, 1), seen.action.flatten(0, 1))[0]
        assert isinstance(likely, Gaussian)
        return standardized(likely, (seen.came - seen.predicted).flatten(0, 1)).view(len(seen.came), -1)

    twins = {kind: source.twins(kind, PAIRS, pairs) for kind in source.kinds}
    found = {kind: (surprise(a), surprise(b)) for kind, (a, b) in twins.items() if len(a["index"])}
    if len(found) > 1:
        found["all"] = (torch.cat([a for a, _ in found.values()]), torch.cat([b for _, b in found.values()]))
    return {kind: asdict(violation_of_expectation(usual, odd)) for kind, (usual, odd) in found.items()}


def _expected(method: Method, source: Source, raw: Batch) -> Expected:
    model, history = worlds.as_dynamics(method), int(getattr(method.config, "history", 1))
    prepared = source.prepare({key: raw[key] for key in (*SEEN, "action") if key in raw})
    rows = torch.arange(len(raw["image"])).split(AT_ONCE)
    seen = [expected(model, {key: value[part] for key, value in prepared.items()}, history) for part in rows]
    return Expected(*(torch.cat(part) for part in zip(*(vars(one).values() for one in seen), strict=True)))


def _named(tree: dict) -> Json:
    """With text for keys, as JSON has it."""
    return {str(key): _named(value) if isinstance(value, dict) else value for key, value in tree.items()}
