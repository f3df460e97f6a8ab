"""One embedding from a set of tokens by attention of a learned query."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError
from .attention import MLP, Block, initialize

EPS = 1e-5  # of the norms here; encoders have 1e-6


class QueryAttention(nn.Module):
    """Multi-head attention of one query to tokens, without output projection.

    A single query never needs keys and values: scores are tokens times (Wk q), and the values' map is applied to the
    weighted mean of tokens. Equal to the usual order of the products, for 2 heads / D of the work on each token. The
    keys' bias cancels in the softmax.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ConfigError(f"width {width} is not a multiple of {heads} heads: choose heads that divide the width")
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)

    def forward(self, query: Float[Tensor, "1 D"], x: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """The attended value of each set."""
        key, value = self.kv.weight.unflatten(0, (2, self.heads, -1))  # [heads, D / heads, D]
        q = self.q(query).view(self.heads, 1, -1) * key.shape[1] ** -0.5
        weight = (x @ (q @ key)[:, 0].T).softmax(1)  # [B, N, heads]
        mean = weight.transpose(1, 2) @ x  # [B, heads, D]
        out = (mean.transpose(0, 1) @ value.transpose(1, 2)).transpose(0, 1).flatten(1)  # [B, D]
        return out + self.kv.bias[x.shape[-1] :]


class CrossBlock(nn.Module):
    """y = query + attention(query, norm(tokens)), then y + mlp(norm(y)); the query itself is not normalized."""

    def __init__(self, width: int, heads: int, ratio: float = 4.0):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=EPS), QueryAttention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=EPS), MLP(width, int(width * ratio))

    def forward(self, query: Float[Tensor, "1 D"], x: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """One embedding for each set of tokens."""
        y = query + self.attn(query, self.norm1(x))
        return y + self.mlp(self.norm2(y))


class AttentiveClassifier(nn.Module):
    """Logits from tokens: learned query, cross-attention block, `depth` - 1 self-attention blocks, linear map.

    Source: V-JEPA (arXiv 2404.08471), appendix; facebookresearch/jepa:src/models/attentive_pooler.py. Its output
    projection of the cross-attention exists in released files, was never applied there and is left out here. The
    self-attention blocks see the one query alone.
    """

    def __init__(self, width: int, heads: int, classes: int, depth: int = 1, ratio: float = 4.0):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, width))
        self.cross = CrossBlock(width, heads, ratio)
        self.blocks = nn.ModuleList(Block(width, heads, ratio, EPS) for _ in range(depth - 1))
        self.head = nn.Linear(width, classes)
        initialize(self)
        nn.init.trunc_normal_(self.query, std=0.02)

    def pooled(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """One embedding for each set of tokens."""
        y = self.cross(self.query, x)[:, None]
        for block in self.blocks:
            y = block(y)
        return y[:, 0]

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B K"]:
        """Logits."""
        return self.head(self.pooled(x))
