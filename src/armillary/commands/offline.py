"""What recorded episodes tell of a world model before anything moves; see `planning.validation`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Method, Plan, Planner
from ..data.episodes import EpisodeDataset
from ..functional.statistics import wilson
from ..planning import cloning, readout, validation, value
from ..planning.energies import energy_of, last, squared, to_goal
from ..planning.rollout import held, limited, normalized, rollout
from ..planning.settings import Planning
from ..planning.terms import Measure, chosen
from ..planning.validation import checks, verdict
from ..planning.windows import SEEN, context, observed, stacked
from ..randomness import Random, numbered
from ..recipes.run import Json
from .worlds import as_dynamics

FRAMES = 6000  # of training episodes, from which the probe and the clone are fitted
WINDOWS, OTHERS, PLANNED = 256, 15, 32  # windows that are ranked, other sequences for each, windows that are planned in
CLONING, VALUING = cloning.Cloning(), value.Valuing()
HORIZONS = (1, 2, 4, 8)  # macro-steps to the goals that are planned to


@dataclass(frozen=True)
class Encoded:
    """Episodes at macro-steps. latents: each [T, *L, D]; actions: [T - 1, A] normalized; states: [T, S], or none."""

    latents: list[Tensor]
    actions: list[Tensor]
    states: list[Tensor]


@torch.no_grad()
def encoded(method: Method, dataset: EpisodeDataset, frames: int = FRAMES) -> Encoded:
    """Random episodes of a data set, as many as have `frames` macro-steps together."""
    model, skip, found = as_dynamics(method), dataset.config.frame_skip, Encoded([], [], [])
    order = numbered(1).order("encoded episodes", len(dataset.episodes))[0].numpy()
    total = 0
    for number in dataset.episodes[order].tolist():
        raw = dataset.episode(number)
        steps = raw["action"].shape[1] // skip
        action = raw["action"][:, : steps * skip].reshape(1, steps, -1)
        shown = {k: raw[k][:, : steps * skip + 1 : skip] for k in SEEN if k in raw}
        seen = dataset.prepare({**shown, "action": action})
        found.latents.append(observed(model, seen)[0])
        found.actions.append(seen["action"][0])
        if "state" in raw:
            found.states.append(raw["state"][0, : steps * skip + 1 : skip].float())
        total += steps + 1
        if total >= frames:
            break
    return found


def probe(data: Encoded) -> readout.Readout | None:
    """A linear probe of the state, None where the episodes tell none."""
    return readout.fitted(torch.cat(data.latents), torch.cat(data.states)) if data.states else None


def clone(data: Encoded, history: int, seed: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The cloned policy; see `planning.cloning`."""
    seen = [stacked(x[None], history)[0] for x in data.latents]
    return cloning.fitted(seen, [readout.flat(x) for x in data.latents], data.actions, CLONING, seed)


def way(data: Encoded, seed: int) -> value.Way:
    """The way that is left to goals; see `planning.value`."""
    return value.fitted(data.latents, VALUING, seed)


@torch.no_grad()
def offline(
    method: Method, dataset: EpisodeDataset, planning: Planning, read: readout.Readout | None, rolled: Json,
    horizon: int = 8,
) -> Json:  # fmt: skip
    """What is added to the part `rollout` of report.json, `rolled`: ranking, probe, reach, and the verdict.

    ranking: place of the recorded actions among others; probe: R² of the state along rollouts; reach: how often plans
    arrive in the model's own rollout.
    """
    history, at = int(getattr(method.config, "history", 1)), int(rolled["horizon"])  # type: ignore[call-overload]
    near, longer = chosen(planning.distance, method), dataset.windows(history + horizon)
    rows = numbered(1).order("offline windows", len(longer))[0][:WINDOWS]
    raw = longer.batch(rows)
    batch, model = longer.prepare(raw), as_dynamics(method)
    state = model.start(context(batch, history))
    first, action = model.latent(state), batch["action"][:, history - 1 :]
    truth = observed(model, {k: v[:, history:] if k in SEEN else v for k, v in batch.items()})
    predicted = rollout(model, state, action)
    others = min(OTHERS, len(rows) - 1)
    found: Json = {"ranking": {
        "others": others,
        "chance_top1": 1 / (1 + others),
        **{name: validation.ranking(validation.ranks(model, state, truth, action, make(action, others)), others)
           for name, make in (("shuffled", validation.shuffled), ("redrawn", validation.redrawn))},
    }}  # fmt: skip
    r2 = None
    if read is not None:
        along = validation.along(read, first, predicted, truth, raw["state"][:, history:].float())
        r2 = float(along.r2("predicted", at))
        found["probe"] = {"r2": r2, "interval": along.interval(at), "by_horizon": along.by_horizon()}
    within = validation.tolerance(torch.cat([first[:, None], truth], 1))
    found["reach"] = reach(model, longer, planning, state, first, truth, within, predicted, near)
    reached = next(row["share"] for row in found["reach"]["by_horizon"] if row["horizon"] == at)  # type: ignore[index]
    top = found["ranking"]["shuffled"][at - 1]  # type: ignore[index]
    held_ = checks(
        at, rolled["ratio_interval"][1], rolled["shuffled_difference_interval"][0],  # type: ignore[index]
        [top["top1"], top["top1_interval"][0]], 1 / (1 + others), r2, reached,
    )  # fmt: skip
    rules = [{"rule": check.words, "holds": check.passed, "needed": check.needed} for check in held_]
    return found | {"rules": rules, "verdict": verdict(at, held_)}


def reach(
    model: object, dataset: EpisodeDataset, planning: Planning, state: tuple[Tensor, ...], first: Tensor, truth: Tensor,
    within: float, predicted: Tensor, near: Measure = squared,
) -> Json:  # fmt: skip
    """By horizon: how often the best plan ends within the tolerance of a recorded goal, in the model's own rollout.

    near: the distance that plans are searched by, as the run's are; arrival, the start and the way are judged by the
    squared distance, of which the tolerance is one. already: how often the start is that near. falling: how often the
    distance falls at every step of the recorded way. Bounds are those of the recorded actions, also of their length.
    """
    low, high, longest = recorded(dataset)
    falls, rows = validation.falling(first, predicted), []
    for h in sorted({h for h in HORIZONS if h <= truth.shape[1]} | {min(4, truth.shape[1])}):
        goal, count = truth[:PLANNED, h - 1], min(PLANNED, len(truth))
        there = tuple(x[:count] for x in state)
        sought, judged = (
            in_units(energy_of(model, there, last(to_goal(goal, by))), dataset, longest)  # type: ignore[arg-type]
            for by in (near, squared)
        )
        search, random = told_by(judged, _of_horizon(planning.planner, h)), numbered(count, planning.seed)
        came = validation.arrived(search, sought, low, high, random, within)
        begun, falling = squared(first[:count], goal) <= within, falls[:, h - 1]
        rows.append({
            "horizon": h, "share": float(came.double().mean()), "interval": wilson(int(came.sum()), count),
            "already": float(begun.double().mean()), "falling": float(falling.double().mean()),
            "falling_interval": wilson(int(falling.sum()), len(falling)),
        })  # fmt: skip
    return {"tolerance": within, "windows": min(PLANNED, len(truth)), "by_horizon": rows}


def told_by(judge: Energy, planner: Planner) -> Planner:
    """The planner, with another energy of its plans told than they were searched by."""

    def search(energy: Energy, low: Tensor, high: Tensor, random: Random, start: Tensor | None = None) -> Plan:
        plan = planner(energy, low, high, random, start)
        return replace(plan, energy=judge(plan.actions[:, None])[:, 0])

    return search


def in_units(energy: Energy, dataset: EpisodeDataset, longest: float) -> Energy:
    """The energy of raw actions, held over macro-steps and no longer than the longest that was recorded."""
    return limited(normalized(held(energy, dataset.config.frame_skip), *dataset.statistics.tensors("action")), longest)


def recorded(dataset: EpisodeDataset) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"], float]:
    """The lowest and highest value of each number of the recorded actions, and the longest action."""
    action = torch.from_numpy(np.array(dataset.columns["action"], np.float32))
    low, high = action.amin(0), action.amax(0)
    wide = torch.where(high > low, 0.0, 1e-3)  # planners need room
    return low - wide, high + wide, float(action.norm(dim=1).max()) + 1e-6


def _of_horizon(planner: object, horizon: int):  # type: ignore[no-untyped-def]
    changes = {"horizon": horizon}
    if getattr(planner, "knots", None):
        changes["knots"] = min(planner.knots, horizon)  # type: ignore[attr-defined]
    return replace(planner, **changes)  # type: ignore[type-var]
