"""A causal predictor folded for planning: what is constant is folded, what is shared or unchanged is computed once.

A plan asks for S rollouts from one history. Position i of the predictor's window is a learned vector, so that a token's
keys and values depend on its latent, its action, its place in the window and the tokens before it there. Hence

  shared     tokens whose latent and action were observed are the same for all S candidates: one row at each place that
             they take, instead of S
  kept       while the window grows to its `history`, every token keeps its place: keys and values of all earlier tokens
             stay, and a step computes the newest token alone. Once it slides, places change and nothing may be kept
  newest     only the newest token's prediction is asked for: the last block computes keys and values of the others and
             no more; the first token of a window attends to itself alone and needs no query
  actions    their embedding and all modulations: once per action, in one product over candidates and steps

Multiply-adds of the published LeWM predictor (192 wide, 6 blocks, 16 heads of 64, MLP 2048, history 3): a token costs
6 x 1.79 M and 0.94 M for its action and projection; a rollout of 5 steps from a full history has 15 tokens, 176 M as
repeated steps. Here it has 12 (1 + 2 + 3 x 3) and 113 M, of which 91 M are the maps of blocks 1 to 5: 0.65 of the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError
from .norm import BatchNorm
from .predictor import CausalPredictor, ConditionedBlock

Map = tuple[Tensor, Tensor]  # weight and bias of a linear map
Seen = tuple[tuple[Tensor, Tensor], ...]  # key and value [B, S or 1, heads, D] of each token so far, the oldest first


def exact(linear: nn.Linear) -> Map:
    """The map in float64, in which maps are folded; a zero bias where it has none."""
    weight = linear.weight.detach().double()
    return weight, weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach().double()


def after(norm: nn.LayerNorm, linear: nn.Linear) -> Map:
    """The map of scaled and shifted values, as one of values that are neither."""
    weight, bias = exact(linear)
    return weight * norm.weight.detach().double(), bias + weight @ norm.bias.detach().double()


def before(linear: Map, norm: BatchNorm) -> Map:
    """A map and the batch norm of its results, by the running averages, as one map."""
    weight, bias = linear
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.weight is not None and norm.bias is not None:
        scale, shift = scale * norm.weight.detach().double(), shift * norm.weight.detach().double()
        shift = shift + norm.bias.detach().double()
    return weight * scale[:, None], bias * scale + shift


def joined(first: nn.Linear, second: nn.Linear) -> Map:
    """Two maps with nothing between them as one."""
    (inner, inner_bias), (outer, outer_bias) = exact(first), exact(second)
    return outer @ inner, outer @ inner_bias + outer_bias


def attend(query: Float[Tensor, "B S h D"], seen: Seen) -> Float[Tensor, "B S E"]:
    """What a token reads from those it sees; the query is already divided by the root of the head's width.

    Few tokens of many rows: as products and sums over whole rows, four times as fast on a CPU as the fused attention.
    """
    share = torch.stack([(query * key).sum(-1) for key, _ in seen]).softmax(0)[..., None]
    out = share[0] * seen[0][1]
    for part, (_, value) in zip(share[1:], seen[1:], strict=True):
        out = torch.addcmul(out, part, value)
    return out.flatten(-2)


@dataclass(frozen=True)
class FoldedBlock:
    """A `ConditionedBlock` in evaluation: its maps take normalized values, its scales have their 1 added."""

    heads: int
    query: Map
    key_value: Map
    out: Map
    fc1: Map
    fc2: Map
    modulation: Map

    @staticmethod
    def of(block: ConditionedBlock, dtype: torch.dtype) -> FoldedBlock:
        """The block's weights as they are now."""
        heads, width = block.attn.heads, block.attn.proj.in_features
        weight, bias = after(block.attn_norm, block.attn.qkv)
        root = (width // heads) ** 0.5
        modulation, shift = exact(block.modulation)
        one = torch.zeros(6, len(shift) // 6, dtype=shift.dtype, device=shift.device)
        one[1], one[4] = 1, 1  # of the scales
        maps = (
            (weight[:width] / root, bias[:width] / root), (weight[width:], bias[width:]), exact(block.attn.proj),
            after(block.mlp_norm, block.fc1), exact(block.fc2), (modulation, shift + one.flatten()),
        )  # fmt: skip
        return FoldedBlock(heads, *((w.to(dtype), b.to(dtype)) for w, b in maps))

    def __call__(
        self, x: Float[Tensor, "P B S D"], modulation: Float[Tensor, "P B S M"], seen: Seen, asked: int
    ) -> tuple[Float[Tensor, "Q B S D"], Seen]:
        """The last `asked` of P tokens after those in `seen`, and keys and values of all of them."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, -1)
        plain = self._normalized(x, scale1, shift1)
        key, value = F.linear(plain, *self.key_value).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        earlier, seen = len(seen), (*seen, *zip(key.unbind(), value.unbind(), strict=True))
        if not asked:
            return x[:0], seen
        first = len(x) - asked
        alone = int(first + earlier == 0)  # the first token of all sees itself only
        read = [value[0].flatten(-2)] * alone
        query = F.linear(plain[first + alone :], *self.query).unflatten(-1, (self.heads, -1))
        read += [attend(q, seen[: earlier + i]) for i, q in enumerate(query, first + alone + 1)]
        x = torch.addcmul(x[first:], gate1[first:], F.linear(torch.stack(read), *self.out).to(x.dtype))
        plain = self._normalized(x, scale2[first:], shift2[first:])
        change = F.linear(F.gelu(F.linear(plain, *self.fc1)), *self.fc2)
        return torch.addcmul(x, gate2[first:], change.to(x.dtype)), seen

    def _normalized(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The condition's norm and the one behind it; their own scales and shifts are in `scale`, `shift`, the map."""
        x = torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), scale)
        return F.layer_norm(x, x.shape[-1:]).to(self.out[0].dtype)


class FoldedPredictor:
    """Rollouts of a `CausalPredictor` between a map of actions and one of predictions, in evaluation, without dropout.

    Equal to repeated single steps up to rounding. Weights are copied and not trained; gradients reach what is given.
    In bfloat16 what runs from block to block and the map of predictions stay float32: that map is 4 % of the products
    and half of the rounding.

    Args:
        dtype: of weights and products.
        embed: linear, linear, SiLU, linear: an action's embedding.
        project: linear, batch norm, GELU, linear: from the predictor's output to a latent.
    """

    def __init__(self, embed: nn.Sequential, predictor: CausalPredictor, project: nn.Sequential, dtype: torch.dtype):
        maps = (
            joined(embed[0], embed[1]), exact(embed[3]),  # type: ignore[arg-type]
            before(after(predictor.norm, project[0]), project[1]), exact(project[3]),  # type: ignore[arg-type]
        )  # fmt: skip
        self._position, self._dtype = predictor.position.detach().clone(), dtype
        types = (dtype, dtype, self._position.dtype, self._position.dtype)
        self._embed1, self._embed2, self._out1, self._out2 = (
            (weight.to(d), bias.to(d)) for (weight, bias), d in zip(maps, types, strict=True)
        )
        self._blocks = [FoldedBlock.of(block, dtype) for block in predictor.blocks]  # type: ignore[arg-type]

    def rollouts(
        self,
        z: Float[Tensor, "B T D"],
        past: Float[Tensor, "B U A"],
        actions: Float[Tensor, "b S H A"],
        rows: int,
    ) -> Float[Tensor, "b S H D"]:
        """The latents after each action of S candidates for each of B histories.

        Args:
            z: the last T <= history latents.
            past: the U = T - 1 actions between them.
            rows: candidates of all histories computed at once, about; elsewhere than on a CPU all are.
        Raises:
            ShapeError: more latents than the predictor's history, not one action less than latents, or candidates of
                another number of histories.
        """
        history, observed = len(self._position), z.shape[1] - 1
        if z.shape[1] > history or past.shape[1] != observed:
            raise ShapeError(
                f"{z.shape[1]} latents and {past.shape[1]} actions between them; give at most {history} latents, the "
                "predictor's history, and one action less"
            )
        if len(actions) != len(z):
            raise ShapeError(f"candidates for {len(actions)} histories, {len(z)} histories; give some for each")
        slides = max(0, observed + actions.shape[2] - history)
        with torch.autocast(z.device.type, enabled=False):
            known = self._modulations(past.transpose(0, 1)[:, :, None])
            tokens = z[:, :observed].transpose(0, 1)[:, :, None]
            contexts = [
                self._through(tokens[first:], [m[first:] for m in known], ((),) * len(self._blocks), 0)[1]
                for first in range(min(slides, observed) + 1)
            ]
            count = math.ceil(len(z) * actions.shape[1] / rows) if z.device.type == "cpu" else 1
            pieces = actions.chunk(count, 1)
            return torch.cat([self._piece(z[:, -1:], contexts, piece) for piece in pieces], 1)

    def _piece(self, z: Tensor, contexts: list[tuple[Seen, ...]], actions: Tensor) -> Float[Tensor, "B S H D"]:
        """Rollouts from the latents z [B, 1, D]; contexts[i]: keys and values of observed tokens from the i-th on."""
        modulations = self._modulations(actions.permute(2, 0, 1, 3))
        observed = len(contexts[0][0])
        latents = [z.expand(-1, actions.shape[1], -1)]  # of the token of each action
        seen, first, kept = contexts[0], 0, 0  # the window's first token; how many planned actions' tokens are in seen
        for t in range(actions.shape[2]):
            start = max(0, observed + t + 1 - len(self._position))
            if start > first:  # the window slides
                first, seen, kept = start, contexts[min(start, observed)], max(0, start - observed)
            x, seen = self._through(torch.stack(latents[kept:]), [m[kept : t + 1] for m in modulations], seen, 1)
            latents.append(self._predicted(x[0]))
            kept = t + 1
        return torch.stack(latents[1:], 2)

    def _through(
        self, x: Float[Tensor, "P B S D"], modulations: list[Tensor], seen: Sequence[Seen], asked: int
    ) -> tuple[Float[Tensor, "Q B S D"], tuple[Seen, ...]]:
        """The last `asked` of P tokens after all blocks, and what each block has seen then."""
        place = len(seen[0])
        x = x + self._position[place : place + len(x), None, None]
        following, last = [], len(self._blocks) - 1
        for i, block in enumerate(self._blocks):
            x, now = block(x, modulations[i], seen[i], asked if i == last else len(x))
            following.append(now)
        return x, tuple(following)

    def _modulations(self, action: Float[Tensor, "P B S A"]) -> list[Float[Tensor, "P B S M"]]:
        """Shifts, scales and gates of each block."""
        hidden = F.silu(F.linear(action.to(self._dtype), *self._embed1))
        condition = F.silu(F.linear(hidden, *self._embed2))
        return [F.linear(condition, *block.modulation).to(self._position.dtype) for block in self._blocks]

    def _predicted(self, x: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        return F.linear(F.gelu(F.linear(F.layer_norm(x, x.shape[-1:]), *self._out1)), *self._out2)
