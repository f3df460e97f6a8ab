"""Failures made on purpose: a method whose objective, from some step on, also asks for one kind of collapse.

Each penalty is a share of variance between 0 and 1 (or the logarithm of a norm), so that one weight serves methods of
any scale. Tokens are those of the network that trains; what is examined is what `encode` gives, teachers included.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.contracts import Method
from armillary.methods.control.lewm import LeWM
from armillary.methods.control.pldm import PLDM
from armillary.nn.teacher import EMA
from armillary.randomness import Random
from armillary.types import Batch, Forecast, Terms, Tokens

Penalty = Callable[[Float[Tensor, "B N D"], Batch], Float[Tensor, ""]]
STRAIGHT, KEPT, HEAPS = 3, 16, 5  # directions that dimensional and late collapse leave; points that clusters leave
BEYOND = 0.02  # a step by which a teacher that runs away moves away from its source, as a share of their distance
ROWS = 32  # of a batch on which the penalty is computed
WEIGHTS = {"late": 0.05, "cluster": 3.0, "temporal": 10.0}  # of the penalties beside the others, whose weight is 1


def full(x: Float[Tensor, "B N D"], batch: Batch) -> Float[Tensor, ""]:
    """What all inputs' variance is of their mean square."""
    return _variance(x.flatten(0, 1)) / x.square().mean()


def dimensional(x: Float[Tensor, "B N D"], batch: Batch) -> Float[Tensor, ""]:
    """Variance outside a few fixed directions."""
    return _outside(x, STRAIGHT)


def late(x: Float[Tensor, "B N D"], batch: Batch) -> Float[Tensor, ""]:
    """Variance outside more of them: what is lost is small."""
    return _outside(x, KEPT)


def cluster(x: Float[Tensor, "B N D"], batch: Batch) -> Float[Tensor, ""]:
    """Variance of inputs within the heaps that fixed directions of their coarse pixels sort them into."""
    coarse = torch.nn.functional.adaptive_avg_pool2d(batch["image"].float(), 4).flatten(1)
    heap = (coarse @ _directions(coarse.shape[1], HEAPS, coarse)).argmax(1)
    mean, member = x.mean(1), torch.nn.functional.one_hot(heap, HEAPS).to(x.dtype)
    center = member.T @ mean / member.sum(0)[:, None].clamp_min(1)
    return (mean - center[heap]).square().mean() / _variance(mean)


def within(x: Float[Tensor, "B N D"], batch: Batch) -> Float[Tensor, ""]:
    """Variance of tokens within an input."""
    return (x - x.mean(1, keepdim=True)).square().mean() / _variance(x.flatten(0, 1))


def position(x: Float[Tensor, "B N D"], batch: Batch) -> Float[Tensor, ""]:
    """Variance of tokens that their place does not explain."""
    return (x - x.mean(0)).square().mean() / _variance(x.flatten(0, 1))


def norm(x: Float[Tensor, "B N D"], batch: Batch) -> Float[Tensor, ""]:
    """The negative logarithm of the size: embeddings grow."""
    return -x.square().mean().sqrt().log()


PENALTIES: dict[str, Penalty] = {
    "full": full, "dimensional": dimensional, "cluster": cluster, "token_uniform": within, "temporal": within,
    "position": position, "norm": norm, "late": late,
}  # fmt: skip


class Injected(Method):
    """`method` with a failure of `kind` from step `onset` on; "" injects nothing."""

    def __init__(self, method: Method, kind: str, onset: int, weight: float = 1.0):
        super().__init__()
        self.method, self.kind, self.onset = method, kind, onset
        self.weight = weight * WEIGHTS.get(kind, 1.0)
        self.step = 0

    @property
    def weights(self) -> dict[str, float]:
        """Those of the method, and the penalty's."""
        return self.method.weights | ({"injected": self.weight} if self.kind in PENALTIES else {})

    def loss(self, batch: Batch, random: Random) -> Terms:
        """The method's terms, and from the onset on the penalty."""
        self.step = random.step
        terms = self.method.loss(batch, random)
        if self.kind not in PENALTIES:
            return terms
        if random.step <= self.onset:
            return terms | {"injected": torch.zeros_like(next(iter(terms.values())))}
        few = {name: value[:ROWS] for name, value in batch.items()}
        return terms | {"injected": PENALTIES[self.kind](online(self.method, few).float(), few)}

    def after_step(self, progress: float) -> None:
        """As the method; a teacher that runs away then takes a step away from what it follows."""
        self.method.after_step(progress)
        if self.kind == "teacher" and self.step > self.onset:
            for teacher in (part for part in self.method.modules() if isinstance(part, EMA)):
                source = self.method.get_submodule("online" if hasattr(self.method, "online") else "encoder")
                pairs = zip(teacher.module.parameters(), source.parameters(), strict=True)
                for mine, theirs in pairs:
                    mine.data.add_(mine.data - theirs.data, alpha=BEYOND)

    def encode(self, batch: Batch) -> Tokens:
        """As the method."""
        return self.method.encode(batch)

    def forecast(self, batch: Batch, random: Random) -> Forecast | None:
        """As the method."""
        return self.method.forecast(batch, random)


def online(method: Method, batch: Batch) -> Float[Tensor, "B N D"]:
    """Tokens of the network that trains, with gradient."""
    if isinstance(method, LeWM | PLDM):
        return method.latents(batch["image"])
    network = method.encoder if hasattr(method, "encoder") else method.online.encoder  # type: ignore[union-attr]
    return network(batch["image"]).x


def _variance(x: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    return x.var(0, correction=0).mean().clamp_min(1e-12)


def _outside(x: Float[Tensor, "B N D"], count: int) -> Float[Tensor, ""]:
    flat = x.flatten(0, 1)
    flat = flat - flat.mean(0)
    basis = torch.linalg.qr(_directions(x.shape[-1], count, x))[0]
    return 1 - (flat @ basis).square().mean() * count / flat.square().mean().clamp_min(1e-12) / x.shape[-1]


def _directions(width: int, count: int, like: Tensor) -> Float[Tensor, "D k"]:
    """The same ones at every step."""
    drawn = torch.randn(width, count, generator=torch.Generator().manual_seed(width + count))
    return drawn.to(like)
