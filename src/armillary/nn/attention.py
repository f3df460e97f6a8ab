"""Attention and the transformer block of the released JEPA code."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import ConfigError


class Attention(nn.Module):
    """Multi-head attention of tokens to each other; queries, keys and values from one linear map, in this order."""

    def __init__(self, width: int, heads: int, head_width: int = 0, bias: bool = True, causal: bool = False):
        super().__init__()
        if not head_width and width % heads:
            raise ConfigError(f"width {width} is not a multiple of {heads} heads: choose heads that divide the width")
        inner = (head_width or width // heads) * heads
        self.heads, self.causal = heads, causal
        self.qkv, self.proj = nn.Linear(width, 3 * inner, bias=bias), nn.Linear(inner, width)

    def forward(self, x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B N D"]:
        """Tokens that are not `valid` are not attended to."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, heads, N, D / heads]
        mask = None if valid is None else valid[:, None, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
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

    def forward(self, x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B N D"]:
        """One block."""
        x = x + self.attn(self.norm1(x), valid)
        return x + self.mlp(self.norm2(x))


def initialize(module: nn.Module, std: float = 0.02) -> None:
    """Normal weights of `std`, zero biases, norms at the identity: the released initialization.

    The released I-JEPA also divides the output maps of layer l by sqrt(2 l), but redraws them afterwards; so do we not.
    Source: facebookresearch/ijepa:src/models/vision_transformer.py (`_init_weights`, cut at 100 std, hence not cut here).
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def rescale_depth(blocks: nn.ModuleList) -> None:
    """Divide the output maps of layer l (from 1) by sqrt(2 l), which keeps the residual stream's variance flat.

    Source: facebookresearch/vjepa2:src/models/vision_transformer.py (`_rescale_blocks`).
    """
    with torch.no_grad():
        for layer, block in enumerate(blocks, 1):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_(math.sqrt(2 * layer))
            block.mlp.fc2.weight.div_(math.sqrt(2 * layer))
