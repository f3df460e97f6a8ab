"""The contracts between the parts, and the checks that anyone can call on an implementation of theirs.

A method is a model with its objective; dynamics are a state that actions move; an energy maps plans to numbers; a
planner minimises an energy; an environment is a batch of worlds. Nothing else crosses the borders between folders.
"""

from __future__ import annotations

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .errors import ConfigError
from .randomness import Random, numbered
from .types import Batch, Forecast, Terms, Tokens

State = TypeVar("State")
Energy = Callable[[Float[Tensor, "B S H A"]], Float[Tensor, "B S"]]


class Method(nn.Module, ABC):
    """A model with its training objective.

    A method file reads like the algorithm box of its paper: `loss` is the objective, `after_step` what happens between
    gradient steps, `encode` what downstream tasks receive. Frozen copies that make targets are called `teacher`.
    """

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """One weight per term of `loss`, no more, no fewer."""

    @abstractmethod
    def loss(self, batch: Batch, random: Random) -> Terms:
        """The named terms of the objective on a prepared batch."""

    @abstractmethod
    def encode(self, batch: Batch) -> Tokens:
        """The representation that probes and planners receive; each token knows where it is."""

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step with the share of the schedule that was done before it, in [0, 1)."""

    def forecast(self, batch: Batch, random: Random) -> Forecast | None:
        """What the predictor said and what was true, for diagnosis; None where a method predicts nothing."""
        return None

    def energy(self, terms: Terms) -> Float[Tensor, ""]:
        """The weighted sum of the terms.

        Raises:
            ConfigError: the terms are not exactly those that have weights.
        """
        if terms.keys() != self.weights.keys():
            raise ConfigError(
                f"{type(self).__name__}.loss gave terms {sorted(terms)}, its weights name {sorted(self.weights)}; "
                "give each term one weight"
            )
        return torch.stack([self.weights[k] * v for k, v in terms.items()]).sum()


def method_class(config: object) -> type[Method]:
    """The `Method` that is defined beside the class of `config`, in the same file.

    Raises:
        ConfigError: that file defines none, or several.
    """
    module = sys.modules[type(config).__module__]
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(c.__name__ for c in found) or "none"
        raise ConfigError(
            f"{module.__name__} must define exactly one Method beside {type(config).__name__}, has {names}"
        )
    return found[0]


def build(config: object, seed: int = 0) -> Method:
    """A new method with the weights that `seed` gives; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return method_class(config)(config)  # type: ignore[call-arg]


@runtime_checkable
class Dynamics(Protocol[State]):
    """A world model as a planner needs it. A state is any tuple of tensors that begin with the batch axis."""

    def start(self, batch: Batch) -> State:
        """The state after the observations of `batch`: image [B, T, C, h, w], action [B, T - 1, A] between them."""
        ...

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """The state after one more action."""
        ...

    def latent(self, state: State) -> Float[Tensor, "B *L D"]:
        """What energies compare: a vector, or a grid of tokens."""
        ...


@dataclass(frozen=True)
class Plan:
    """actions: [B, H, A] best plan found; energy: [B] its energy; std: [B, H, A] spread of the final elites."""

    actions: Float[Tensor, "B H A"]
    energy: Float[Tensor, " B"]
    std: Float[Tensor, "B H A"]

    def shifted(self, steps: int = 1) -> Float[Tensor, "B H A"]:
        """A warm start after `steps` actions were taken: they are dropped and the last one is repeated."""
        steps = min(steps, self.actions.shape[1])
        return torch.cat([self.actions[:, steps:], self.actions[:, -1:].expand(-1, steps, -1)], 1)


@runtime_checkable
class Planner(Protocol):
    """A minimiser of a callable. It has never heard of models.

    Returns the best plan that it saw, inside the bounds. `random` has one sample per problem, hence fixes B.
    """

    def __call__(
        self,
        energy: Energy,
        low: Float[Tensor, " A"],
        high: Float[Tensor, " A"],
        random: Random,
        start: Float[Tensor, "B H A"] | None = None,
    ) -> Plan:
        """Plan from `start` (default: the middle of the bounds)."""
        ...


@runtime_checkable
class Environment(Protocol):
    """`count` worlds stepped together; thin over Gymnasium, with terminated and truncated kept apart.

    low, high: [A] bounds of an action in the environment's units. Observations are a batch with `image` [B, C, h, w]
    uint8 and, where it is known, `state` [B, S] float32 (the truth, for probes and scores only).
    """

    count: int
    low: Float[Tensor, " A"]
    high: Float[Tensor, " A"]

    def reset(self, seed: int) -> Batch:
        """First observations; world i depends on (seed, i) alone."""
        ...

    def step(
        self, action: Float[Tensor, "B A"]
    ) -> tuple[Batch, Float[Tensor, " B"], Bool[Tensor, " B"], Bool[Tensor, " B"]]:
        """Observations after the action, reward, terminated, truncated."""
        ...


def _rows(batch: Batch, index: Tensor) -> Batch:
    return {k: v[index] for k, v in batch.items()}


def _terms(method: Method, batch: Batch, seed: int = 0) -> Terms:
    return method.loss(batch, Random(seed, 1, batch["index"]))


def _check_gradients(method: Method, batch: Batch) -> None:
    method.zero_grad(set_to_none=True)
    method.energy(_terms(method, batch)).backward()
    trained = [(n, p) for n, p in method.named_parameters() if p.requires_grad]
    dead = [n for n, p in trained if p.grad is None]
    assert not dead, f"no gradient reaches {dead}; remove them or use them"
    assert all(torch.isfinite(p.grad).all() for _, p in trained if p.grad is not None), "a gradient is not finite"
    assert any(p.grad.abs().max() > 0 for _, p in trained if p.grad is not None), "every gradient is zero"
    leaked = [n for n, p in method.named_parameters() if not p.requires_grad and p.grad is not None]
    assert not leaked, f"a gradient reached the frozen {leaked}"


def _check_teacher(method: Method) -> list[str]:
    with torch.no_grad():
        for name, p in method.named_parameters():
            if not name.startswith("teacher"):
                p.add_(0.01)  # as an optimiser step would, so that an average has something to follow
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    method.after_step(0.5)
    moved = [n for n, p in method.named_parameters() if not torch.equal(p, before[n])]
    strangers = [n for n in moved if not n.startswith("teacher")]
    assert not strangers, f"after_step moved {strangers}, which are not in `teacher`"
    return moved


def _check_bfloat16(method: Method, batch: Batch, exact: Terms) -> None:
    with torch.autocast(batch["index"].device.type, dtype=torch.bfloat16):
        rough = _terms(method, batch)
    for name, value in exact.items():
        gap = (rough[name].float() - value).abs().item()
        assert gap <= 0.05 + 0.1 * value.abs().item(), (
            f"term {name} is {value} in float32 and {rough[name]} in bfloat16"
        )


def check_method(method: Method, batch: Batch) -> dict[str, Any]:
    """Check that a method keeps its contract, on one small prepared batch; a user's own method is checked the same way.

    Terms are finite, named as the weights and a function of (batch, random) and of the rows' identities, not of their
    order; gradients are finite and reach all that trains and nothing else; `after_step` moves the teacher only;
    bfloat16 stays near float32; a fresh copy with the saved state gives the same loss; `encode` gives one finite token
    set per row, which no other row changes.
    Returns:
        The names of the terms, how many teacher parameters moved, the shape of the tokens.
    Raises:
        AssertionError: what is broken, in words.
    """
    method = copy.deepcopy(method).train()
    device = batch["index"].device
    first, again = _terms(method, batch), _terms(method, batch)
    for name, value in first.items():
        assert value.ndim == 0 and bool(torch.isfinite(value)), f"term {name} is {value}"
        assert torch.allclose(value, again[name], rtol=1e-4, atol=1e-6), f"term {name} is not a function of its inputs"
    flipped = _terms(method, _rows(batch, torch.arange(len(batch["index"]) - 1, -1, -1, device=device)))
    for name, value in first.items():
        assert torch.allclose(value, flipped[name], rtol=1e-3, atol=1e-5), (
            f"term {name} depends on the order of the rows"
        )
    _check_bfloat16(method, batch, first)
    _check_gradients(method, batch)
    moved = _check_teacher(method)
    fresh = copy.deepcopy(method)
    with torch.no_grad():
        for value in fresh.state_dict().values():
            value.zero_()
    fresh.load_state_dict(method.state_dict())
    reference, reloaded = _terms(copy.deepcopy(method), batch), _terms(fresh, batch)
    for name, value in reference.items():
        assert torch.equal(value, reloaded[name]), f"term {name} changes when the state is saved and loaded"
    method.eval()
    with torch.no_grad():
        tokens, alone = method.encode(batch), method.encode(_rows(batch, torch.arange(1, device=device)))
    assert tokens.x.shape[:2] == tokens.pos.shape[:2], f"{tokens.x.shape} embeddings, {tokens.pos.shape} coordinates"
    assert len(tokens.x) == len(batch["index"]), "encode must give one set of tokens per row"
    assert bool(torch.isfinite(tokens.x).all()), "encode gives non-finite embeddings"
    assert torch.allclose(alone.x[0], tokens.x[0], rtol=1e-3, atol=1e-4), "a row's tokens depend on the other rows"
    return {"terms": sorted(first), "teacher": len(moved), "tokens": tuple(tokens.x.shape)}


def check_dynamics(dynamics: Dynamics, batch: Batch, action: Float[Tensor, "B A"]) -> None:
    """Check that dynamics keep their contract from the observations of `batch` under one action.

    A state is a tuple of tensors of B rows, a step changes no input in place, is deterministic, treats rows alone, and
    the latent is finite and keeps its shape.
    Raises:
        AssertionError: what is broken, in words.
    """
    with torch.no_grad():
        state = dynamics.start(batch)
        assert isinstance(state, tuple) and all(len(x) == len(action) for x in state), "a state is a tuple of [B, ...]"
        kept = tuple(x.clone() for x in state)
        following = dynamics.step(state, action)
        assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True)), "step changed its input in place"
        z, again = dynamics.latent(following), dynamics.latent(dynamics.step(state, action))
        assert torch.equal(z, again), "step is not deterministic"
        assert bool(torch.isfinite(z).all()) and len(z) == len(action), f"latent of shape {tuple(z.shape)} is unusable"
        assert z.shape == dynamics.latent(state).shape, "the latent's shape changes from step to step"
        alone = dynamics.latent(dynamics.step(tuple(x[:1] for x in state), action[:1]))
        assert torch.allclose(alone[0], z[0], rtol=1e-3, atol=1e-4), "a row's latent depends on the other rows"


def check_planner(planner: Planner, horizon: int = 4) -> None:
    """Check that a planner keeps its contract: bounds, best-seen plan, independence of problems, seeds, warm start.

    Raises:
        AssertionError: what is broken, in words.
    """
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
    goal = torch.tensor([0.4, 1.3])
    seen: list[Tensor] = []

    def energy(actions: Tensor) -> Tensor:
        value = (actions - goal).square().sum((-1, -2))
        seen.append(value)
        return value

    plan = planner(energy, low, high, numbered(3))
    best = torch.cat(seen, 1).amin(1)
    assert plan.actions.shape == (3, horizon, 2), f"plan of shape {tuple(plan.actions.shape)}, not (3, {horizon}, 2)"
    assert bool(((plan.actions >= low) & (plan.actions <= high)).all()), "the plan leaves the bounds"
    assert torch.allclose(plan.energy, best), "the plan is not the best one that was evaluated"
    assert torch.allclose(energy(plan.actions[:, None])[:, 0], plan.energy, rtol=1e-4), "plan and energy do not match"
    again = planner(energy, low, high, numbered(1))
    assert torch.allclose(again.actions[0], plan.actions[0], atol=1e-5), (
        "a problem depends on its neighbours or on time"
    )
    start = goal.expand(3, horizon, 2)
    assert float(planner(energy, low, high, numbered(3), start).energy.max()) < 1e-6, "the warm start is not evaluated"


def check_env(env: Environment, steps: int = 5) -> None:
    """Check that an environment keeps its contract: shapes, types, bounds, seeds.

    Raises:
        AssertionError: what is broken, in words.
    """
    assert env.low.shape == env.high.shape and bool((env.low < env.high).all()), "low must be below high"

    def run(seed: int) -> list[Tensor]:
        random, frames = numbered(env.count, seed), [env.reset(seed)["image"]]
        for t in range(steps):
            action = env.low + (env.high - env.low) * random.uniform(f"check/{t}", len(env.low))
            observation, reward, terminated, truncated = env.step(action)
            assert reward.shape == (env.count,), f"reward of shape {tuple(reward.shape)}"
            assert terminated.dtype == torch.bool and truncated.dtype == torch.bool, "terminated and truncated are bool"
            frames.append(observation["image"])
        return frames

    first, again, other = run(0), run(0), run(1)
    assert first[0].dtype == torch.uint8 and first[0].ndim == 4, "image must be [B, C, h, w] uint8"
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), "the same seed gives another episode"
    assert not torch.equal(first[0], other[0]), "another seed gives the same first observation"
