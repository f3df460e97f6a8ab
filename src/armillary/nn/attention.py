"""Attention and the transformer block of the released JEPA code."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import ConfigError
from ..functional.rotary import Rotation, rotated


class Attention(nn.Module):
    """Multi-head attention of tokens to each other; queries, keys and values from one linear map, in this order."""

    def __init__(self, width: int, heads: int, head_width: int = 0, bias: bool = True, causal: bool = False):
        super().__init__()
        if not head_width and width % heads:
            raise ConfigError(f"width {width} is not a multiple of {heads} heads: choose heads that divide the width")
        inner = (head_width or width // heads) * heads
        self.heads, self.causal = heads, causal
        self.qkv, self.proj = nn.Linear(width, 3 * inner, bias=bias), nn.Linear(inner, width)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        valid: Bool[Tensor, "B N"] | None = None,
        mask: Bool[Tensor, "N N"] | None = None,
        turn: Rotation | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Tokens that are not `valid` are not attended to, nor those where the row of `mask` is False.

        turn: rotary positions, by which queries and keys of every head are turned.
        """
        parts = self.qkv(x).chunk(3, -1)  # one copy in the backward pass, where one view of all three would be two
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # [B, heads, N, D / heads]
        if turn is not None:
            q, k = rotated(q, turn), rotated(k, turn)
        seen = None if valid is None else valid[:, None, None]
        if mask is not None:
            seen = mask if seen is None else seen & mask
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=self.causal)
        return self.proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear maps with an exact GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """The map, token by token."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, ratio: float = 4.0, eps: float = 1e-6):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=eps), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=eps), MLP(width, int(width * ratio))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        valid: Bool[Tensor, "B N"] | None = None,
        mask: Bool[Tensor, "N N"] | None = None,
        turn: Rotation | None = None,
    ) -> Float[Tensor, "B N D"]:
        """One block; valid, mask, turn: as of `Attention`."""
        x = x + self.attn(self.norm1(x), valid, mask, turn)
        return x + self.mlp(self.norm2(x))


PIECE = 1 << 18  # numbers: 1 MiB in float32, near what a core's own cache holds


def through(
    blocks: nn.ModuleList,
    x: Float[Tensor, "B N D"],
    valid: Bool[Tensor, "B N"] | None = None,
    place: Float[Tensor, "B N D"] | None = None,
) -> Float[Tensor, "B N D"]:
    """`x` after all blocks; `place` is added before each of them.

    On a CPU, rows go through in pieces of about a megabyte, one after the other: their activations stay in the cache,
    forwards and backwards. A small gain: 0.5 to 3 % of an I-JEPA step, see docs/log.md.
    """
    rows = max(1, PIECE // x[0].numel()) if x.device.type == "cpu" else len(x)
    out = []
    for piece in range(0, len(x), rows):
        part = slice(piece, piece + rows)
        y = x[part]
        for block in blocks:
            y = block(y if place is None else y + place[part], None if valid is None else valid[part])
        out.append(y)
    return torch.cat(out) if len(out) > 1 else out[0]


Initialization = Literal["released", "xavier"]


def initialize(module: nn.Module, kind: Initialization = "released") -> None:
    """Draw the weights of linear maps and convolutions, zero their biases; norms keep the identity.

    released: normal of std 0.02, whatever the width (facebookresearch/ijepa:src/models/vision_transformer.py, which
    also divides the output maps of layer l by sqrt(2 l) and then redraws them, so do we not). At widths below about 300
    and small patches this leaves the positions louder than the image, so that targets are predictable from where they
    are alone; xavier: uniform of variance 2 / (inputs + outputs), as in MAE (facebookresearch/mae), does not.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            if kind == "released":
                nn.init.normal_(part.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
