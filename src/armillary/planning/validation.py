"""Whether a world model is fit to plan with, told by recorded episodes alone, before anything moves.

All of it works on windows: the encoded frames of what happened, and what the model predicts under the recorded actions
or under others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..contracts import Dynamics, Planner
from ..errors import ShapeError
from ..functional.statistics import bootstrap, wilson
from ..randomness import Random, numbered
from .energies import squared
from .readout import Readout

RESAMPLES = 1000
TOP, R2, REACH = 0.5, 0.5, 0.5  # what a model must pass to be worth trying, see `verdict`


def shuffled(action: Float[Tensor, "n H A"], count: int, seed: int = 0) -> Float[Tensor, "n K H A"]:
    """For each window the action sequences of `count` others.

    Raises:
        ShapeError: not more windows than that.
    """
    n = len(action)
    if n <= count:
        raise ShapeError(f"{n} windows cannot lend {count} other sequences to each; give more windows")
    shift = 1 + numbered(n, seed).order("validation/shuffled", n - 1)[:, :count]
    return action[(torch.arange(n)[:, None] + shift) % n]


def redrawn(action: Float[Tensor, "n H A"], count: int, seed: int = 0) -> Float[Tensor, "n K H A"]:
    """Sequences whose every action is drawn from all recorded ones, without a memory of the step before."""
    every = action.flatten(0, 1)
    return every[numbered(len(action), seed).integers("validation/redrawn", len(every), count, action.shape[1])]


@torch.no_grad()
def ranks(
    dynamics: Dynamics[Any], state: tuple[Tensor, ...], truth: Float[Tensor, "n H *L D"],
    action: Float[Tensor, "n H A"], others: Float[Tensor, "n K H A"],
) -> Float[Tensor, "n H"]:  # fmt: skip
    """At each step, the place of the recorded actions among the others by distance to the latent that they led to.

    1 is the best, K + 1 the worst; a tie counts half, so that a model that ignores actions has the middle place.
    """
    n, count = others.shape[:2]
    candidates = torch.cat([action[:, None], others], 1).flatten(0, 1)  # [n * (1 + K), H, A]
    now = tuple(x.repeat_interleave(count + 1, 0) for x in state)
    places = []
    for t, macro in enumerate(candidates.unbind(1)):
        now = dynamics.step(now, macro)
        far = squared(dynamics.latent(now), truth[:, t].repeat_interleave(count + 1, 0)).view(n, count + 1)
        own, other = far[:, :1], far[:, 1:]
        places.append(1 + (other < own).sum(1) + 0.5 * (other == own).sum(1))
    return torch.stack(places, 1)


def ranking(places: Float[Tensor, "n H"], count: int) -> list[dict[str, object]]:
    """By horizon: the mean place among `count` others and how often it is the first, with intervals and chances."""
    again = numbered(RESAMPLES).integers("validation/ranking", len(places), len(places))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    means = torch.stack([places[rows].double().mean(0) for rows in again])  # of bootstrap samples [R, H]
    rows = []
    for h, place in enumerate(places.unbind(1), start=1):
        top = int((place == 1).sum())
        rows.append({
            "horizon": h,
            "mean_rank": float(place.mean()), "mean_rank_interval": means[:, h - 1].quantile(ends).tolist(),
            "top1": top / len(place), "top1_interval": wilson(top, len(place)),
        })  # fmt: skip
    return rows


@dataclass(frozen=True)
class Along:
    """R² of a linear probe of the state at each horizon, read from predicted, from encoded and from the first latents.

    predicted: [n, H, S] states read from the model's own rollout; encoded: from the frames that came; copied: from the
    last frame before the rollout. state: [n, H, S] the truth. Quantities that do not vary are left out.
    """

    predicted: Float[Tensor, "n H S"]
    encoded: Float[Tensor, "n H S"]
    copied: Float[Tensor, "n H S"]
    state: Float[Tensor, "n H S"]

    def r2(self, which: str, h: int, rows: Tensor | None = None) -> Float[Tensor, ""]:
        """1 - error / variance at horizon `h`, the mean over quantities; for some windows with the variance of all."""
        truth = self.state[:, h - 1].double()
        variance = truth.var(0, correction=0)
        varied = variance > 1e-9 * truth.abs().amax(0).clamp_min(1e-9).square()
        error = (getattr(self, which)[:, h - 1].double() - truth).square()
        mean = (error if rows is None else error[rows]).mean(0)
        return 1 - (mean / variance)[varied].mean()

    def by_horizon(self) -> list[dict[str, float]]:
        """One row for each horizon; rmse is the error of the model's rollout in the units of each quantity."""
        rows = []
        for h in range(1, self.state.shape[1] + 1):
            row = {name: float(self.r2(part, h)) for name, part in
                   (("r2", "predicted"), ("encoded_r2", "encoded"), ("copy_r2", "copied"))}  # fmt: skip
            rmse = (self.predicted[:, h - 1] - self.state[:, h - 1]).double().square().mean(0).sqrt()
            rows.append({"horizon": h, **row, "rmse": rmse.tolist()})
        return rows

    def interval(self, h: int) -> list[float]:
        """Bootstrap interval of the R² of the model's rollout over windows."""
        return bootstrap(lambda rows: self.r2("predicted", h, rows), len(self.state))


def along(
    readout: Readout, first: Float[Tensor, "n *L D"], predicted: Float[Tensor, "n H *L D"],
    truth: Float[Tensor, "n H *L D"], state: Float[Tensor, "n H S"],
) -> Along:  # fmt: skip
    """The states that a probe reads along rollouts; it was fitted on encoded frames and never saw predicted ones."""
    shape = state.shape[:2]
    ahead, came = (readout(x.flatten(0, 1)).unflatten(0, shape) for x in (predicted, truth))
    return Along(ahead, came, readout(first)[:, None].expand_as(state), state)


def falling(first: Float[Tensor, "n *L D"], predicted: Float[Tensor, "n H *L D"]) -> Bool[Tensor, "n H"]:
    """Whether the energy of a goal h steps ahead falls at every step of the recorded way there, for each h.

    The goal is where the model's own rollout ends, so that this tells of the shape of the latent space alone: greedy
    steps lead to the goal where it holds.
    """
    path = torch.cat([first[:, None], predicted], 1)  # [n, 1 + H, *L, D]
    every = []
    for h in range(1, path.shape[1]):
        far = torch.stack([squared(path[:, t], path[:, h]) for t in range(h + 1)], 1)
        every.append((far[:, 1:] < far[:, :-1]).all(1))
    return torch.stack(every, 1)


def tolerance(latents: Float[Tensor, "n T *L D"]) -> float:
    """What counts as arrived: the median squared distance of latents one macro-step apart."""
    before, after = latents[:, :-1].flatten(0, 1), latents[:, 1:].flatten(0, 1)
    return float(squared(before, after).median())


def arrived(
    planner: Planner, energy: Any, low: Float[Tensor, " A"], high: Float[Tensor, " A"], random: Random, within: float
) -> Bool[Tensor, " B"]:
    """Whether the best plan for each problem ends within a squared distance of its goal, in the model's own rollout."""
    return planner(energy, low, high, random).energy <= within


@dataclass(frozen=True)
class Check:
    """One rule: what it asks, whether it holds, whether planning is hopeless where it does not, and the number."""

    words: str
    passed: bool
    needed: bool


def checks(
    horizon: int, ratio_high: float, shuffled_low: float, top1: list[float], chance: float, r2: float | None,
    reach: float | None,
) -> list[Check]:  # fmt: skip
    """The rules of `verdict`, at `horizon` macro-steps.

    ratio_high: upper end of the interval of error over copy-last. shuffled_low: lower end of that of the error under
    other actions minus the error. top1: share and lower end of its interval. None: not measured.
    """
    worse = "predict worse" if shuffled_low > 0 else "do not predict worse"
    found = [
        Check(f"the error is up to {ratio_high:.2f} of that of copy-last (below 1 is asked)", ratio_high < 1, True),
        Check(f"other actions {worse} than the recorded ones (worse is asked)", shuffled_low > 0, True),
        Check(
            f"the recorded actions score best in {top1[0]:.0%} of windows, surely in {top1[1]:.0%} (twice the chance "
            f"of {chance:.0%} is asked)", top1[1] > 2 * chance, True,
        ),
        Check(f"they do in {top1[0]:.0%} (at least {TOP:.0%} is asked)", top1[0] >= TOP, False),
    ]  # fmt: skip
    if r2 is not None:
        said = f"a probe reads the state of rollouts with R² {r2:.2f} (at least {R2} is asked)"
        found.append(Check(said, r2 >= R2, False))
    if reach is not None:
        said = f"plans arrive in {reach:.0%} of the model's own rollouts (at least {REACH:.0%} is asked)"
        found.append(Check(said, reach >= REACH, False))
    return found


def verdict(horizon: int, found: list[Check]) -> str:
    """Whether planning is worth trying: not where a needed rule fails, doubtful where another one does.

    It tells of recorded states and of short ways: that a goal is reached in the world, only acting can show.
    """
    failed = [check for check in found if not check.passed]
    said = "planning is worth trying" if not failed else "planning is doubtful"
    if any(check.needed for check in failed):
        said = "planning is not worth trying"
    return f"{said}: after {horizon} macro-steps {'; '.join(check.words for check in failed or found)}"
