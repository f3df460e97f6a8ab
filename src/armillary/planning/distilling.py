"""Plans distilled into a policy: a network learns what a planner does, at the contexts that its own acting leads to.

From Mode 2 to Mode 1 (LeCun 2022, A path towards autonomous machine intelligence, section 3.1.3), by DAgger (Ross et
al., 1011.0686, algorithm 3.1): in the first round the planner acts, in the others the network or a mixture of both; the
planner says what it would do at what was visited, and the network is fitted anew to all that was said in all rounds.

Two departures. Where the paper labels every state, an episode in which the network acts is labeled at every
`execute`-th macro-step, as often as the planner plans when it acts itself: a round costs what planning costs, whoever
acts. And a plan says more than its first action: the later ones are labels too, at the latents that the model predicts
on the way there, which cost one rollout beside the thousand of a search.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from ..contracts import Dynamics
from ..errors import CheckpointError, DataError, ShapeError
from ..randomness import Random, numbered
from ..types import Batch
from .cloning import Cloned, Cloning, Network, begun, regressed
from .plans import shortened
from .policies import Policy, Receding, Thought
from .readout import flat

Json = dict[str, object]
SETTINGS = Cloning(steps=3000)
HEADER, SIZES = "armillary", ("seen", "goal", "actions", "hidden")


@dataclass(frozen=True)
class Scale:
    """Raw actions as a network gives them: -1 to 1 between the bounds, one for a macro-step of `frame_skip` raw steps.

    longest: Euclidean norm to which the world shortens actions, infinite where it does not.
    """

    low: Float[Tensor, " A"]
    high: Float[Tensor, " A"]
    frame_skip: int = 1
    longest: float = math.inf

    def label(self, action: Float[Tensor, "n A"]) -> Float[Tensor, "n A"]:
        """What the network is to give for a planner's action; a longer one counts as what the world makes of it."""
        return (self._short(action) - (self.low + self.high) / 2) / ((self.high - self.low) / 2)

    def raw(self, given: Float[Tensor, "n A"]) -> Float[Tensor, "n k A"]:
        """The raw actions of a macro-step."""
        action = (self.low + self.high) / 2 + given.clamp(-1, 1) * (self.high - self.low) / 2
        return self._short(action)[:, None].expand(-1, self.frame_skip, -1)

    def _short(self, action: Float[Tensor, "n A"]) -> Float[Tensor, "n A"]:
        return action if math.isinf(self.longest) else shortened(action[:, None, None], self.longest)[:, 0, 0]


Act = Callable[[Float[Tensor, "n F"], int], Float[Tensor, "n k A"]]


@dataclass(frozen=True)
class Imagined:
    """What a policy would see where actions lead, by the model: its predictions stand for the latents of frames.

    read: what the policy sees of a context, the latents of the last frames side by side. prepare: what the dynamics
    start from, of a context. modeled: raw actions of a macro-step [n, k, A] in the units of the dynamics, side by side.
    """

    dynamics: Dynamics[Any]
    read: Callable[[Batch], Float[Tensor, "n F"]]
    prepare: Callable[[Batch], Batch]
    modeled: Callable[[Float[Tensor, "n k A"]], Float[Tensor, "n K"]]

    @torch.no_grad()
    def __call__(self, context: Batch, act: Act, steps: int) -> tuple[Float[Tensor, "n H F"], Float[Tensor, "n H k A"]]:
        """What is seen before each of `steps` macro-steps, and what `act` does there; the first is the context's."""
        state, now = self.dynamics.start(self.prepare(context)), self.read(context)
        seen, done = [now], [act(now, 0)]
        for t in range(1, steps):
            state = self.dynamics.step(state, self.modeled(done[-1]))
            latent = flat(self.dynamics.latent(state))
            now = torch.cat([now, latent], 1)[:, latent.shape[1] :]
            seen, done = [*seen, now], [*done, act(now, t)]
        return torch.stack(seen, 1), torch.stack(done, 1)


@dataclass(frozen=True)
class Labels:
    """What was seen, the goal, and what the planner does there, as the network is to give it."""

    seen: Float[Tensor, "n F"]
    goal: Float[Tensor, "_ D"]
    action: Float[Tensor, "_ A"]

    @staticmethod
    def joined(parts: Sequence[Labels]) -> Labels:
        """Several as one.

        Raises:
            DataError: there is none.
        """
        if not parts:
            raise DataError("there are no labels to learn from; let a lesson run first")
        return Labels(*(torch.cat([getattr(part, name) for part in parts]) for name in ("seen", "goal", "action")))


@dataclass(frozen=True)
class Turn:
    """What a lesson remembers: the last plan, and in which episodes the planner acts until the next one."""

    thought: Thought
    teaches: Bool[Tensor, " E"]

    @property
    def evaluations(self) -> int:
        """Steps of the model that were computed so far."""
        return self.thought.evaluations


@dataclass(frozen=True)
class Lesson:
    """A policy for `control`: the planner or the student acts, and what the planner does or would do is kept.

    The planner plans every `planner.execute` macro-steps for all episodes. Its plan is labels: the first action at what
    is seen, whoever led there, the others at what the model predicts. Where the planner acts until the next plan, what
    it does is a label at what is then seen, too.

    read, goal: what the student sees of a context, and of each episode's goal. scale: of the student's actions.
    student: None where only the planner acts. share: of the stretches between plans in which the planner acts, drawn
    for each episode. imagined: None leaves the later actions of plans out. labels: what was kept so far.
    """

    planner: Receding
    read: Callable[[Batch], Float[Tensor, "E F"]]
    goal: Float[Tensor, "E D"]
    scale: Scale
    student: Policy | None = None
    share: float = 0.0
    imagined: Imagined | None = None
    labels: list[Labels] = field(default_factory=list)

    def __call__(self, context: Batch, step: int, memory: object) -> tuple[Float[Tensor, "E n A"], Turn]:
        """Raw actions of one macro-step."""
        skip = self.planner.frame_skip
        turn = step // skip % self.planner.execute
        now = self._turn(context, step, memory) if turn == 0 or not isinstance(memory, Turn) else memory
        known = now.thought.plan.energy.isfinite()  # else nothing was found, and the plan says nothing
        self._keep(context, now.thought.plan.actions, turn, known & (now.teaches | (turn == 0)))
        actions = now.thought.plan.actions[:, turn, None].expand(-1, skip, -1)
        if self.student is None or bool(now.teaches.all()):
            return actions, now
        own, _ = self.student(context, step, None)
        return torch.where(now.teaches[:, None, None], actions, own), now

    def _keep(self, context: Batch, plan: Float[Tensor, "E H A"], turn: int, rows: Bool[Tensor, " E"]) -> None:
        """Labels of this step of a plan and, at its first one, of all others."""
        said = self.scale.label(plan.flatten(0, 1)).view_as(plan)
        seen, steps = self.read(context)[:, None], slice(turn, turn + 1)
        if turn == 0 and self.imagined is not None:
            steps = slice(0, plan.shape[1])
            seen, _ = self.imagined(context, lambda _, t: self.scale.raw(said[:, t]), plan.shape[1])
        goal = self.goal[context["index"]][:, None].expand(-1, seen.shape[1], -1)
        parts = (seen, goal, said[:, steps])
        self.labels.append(Labels(*(part[rows].flatten(0, 1) for part in parts)))

    def _turn(self, context: Batch, step: int, memory: object) -> Turn:
        """A new plan, and who follows it."""
        _, thought = self.planner(context, step, memory.thought if isinstance(memory, Turn) else None)
        drawn = Random(self.planner.seed, step, context["index"]).uniform("distilling/teaches", 1)[:, 0]
        return Turn(thought, (drawn < self.share) | (self.student is None))


def distilled(labels: Labels, settings: Cloning = SETTINGS, seed: int = 0) -> Network:
    """A network from (seen, goal) to the planner's action, by mean squared error; a function of labels and seed.

    Raises:
        DataError: no labels, or some that are not finite. ShapeError: not one goal and one action for what was seen.
    """
    parts = (labels.seen.float(), labels.goal.float(), labels.action.float())
    if len({len(part) for part in parts}) > 1:
        raise ShapeError(f"{[len(part) for part in parts]} rows of seen, goal, action; give one of each for a label")
    if not len(parts[0]) or not all(bool(part.isfinite().all()) for part in parts):
        raise DataError(f"{len(parts[0])} labels; a policy needs 1 or more, all of them finite")
    rows = numbered(settings.steps, seed).integers("distilling/label", len(parts[0]), settings.batch)
    network = begun(parts[0], parts[1], parts[2].shape[1], settings.hidden, seed)
    return regressed(network, ((parts[0][at], parts[1][at], parts[2][at]) for at in rows), settings)


@dataclass(frozen=True)
class Proposed:
    """The plan that a policy follows on the model's own predictions, for `Receding.proposals`."""

    policy: Cloned
    imagined: Imagined
    horizon: int

    @torch.no_grad()
    def __call__(self, context: Batch, step: int) -> Float[Tensor, "B 1 H A"]:
        """One plan for each problem; its action is held over each macro-step, as planners hold theirs."""
        goal = self.policy.goal[context["index"]]
        _, done = self.imagined(context, lambda seen, _: self.policy.act(seen, goal), self.horizon)
        return done[:, None, :, 0]


def save(path: Path, network: Network, told: Json) -> None:
    """Replace a file by the network, its sizes, a checksum and what is told of it (JSON), in one step."""
    tensors = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    header = {**network.sizes, "told": told}
    header["sha256"] = _checksum(tensors, header)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(serialized(tensors, {HEADER: json.dumps(header, allow_nan=False)}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> tuple[Network, Json]:
    """The network in a file that `save` wrote, and what was told of it.

    Raises:
        CheckpointError: the file is missing or damaged, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}: no policy was distilled; `armillary distill RUN` makes one")
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            header = json.loads((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        sizes, told, sha256 = [int(header[name]) for name in SIZES], dict(header["told"]), header.pop("sha256")
        if sha256 != _checksum(tensors, header):
            raise ValueError("its checksum is another one")
        network = Network(torch.zeros(1, sizes[0]), torch.zeros(1, sizes[1]), sizes[2], sizes[3])
        network.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged or holds no policy ({error}); make it again: armillary distill RUN"
        ) from None
    return network.requires_grad_(False).eval(), told


def _checksum(tensors: dict[str, Tensor], header: Json) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].cpu().numpy().tobytes())
    return digest.hexdigest()
