"""Predictors: embeddings of what is not seen, from what is seen and a condition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError
from ..functional.position import sincos
from ..types import Tokens
from .attention import Attention, Block, Initialization, initialize, through


class SinCos(nn.Module):
    """Fixed sine-cosine embedding of coordinates, the last coordinate first (columns before rows, as released)."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, pos: Float[Tensor, "*B P"]) -> Float[Tensor, "*B D"]:
        """See `functional.position.sincos`."""
        return sincos(pos.flip(-1), self.width)


class MaskPredictor(nn.Module):
    """Target embeddings from context tokens and the coordinates of the targets.

    shared: all target blocks in one sequence with the context, so that they see each other (V-JEPA); otherwise each
    block is a sequence alone (I-JEPA). Where blocks overlap, a shared sequence asks for a patch once per block.
    condition: numbers of a condition of the whole prediction, e.g. of the transformation from source to target (IWM);
    mask tokens with their positions are concatenated with it and go through three linear maps with ReLU between.
    out: width of the predicted embeddings, 0 for that of the context.
    Source: I-JEPA (arXiv 2301.08243), section 3; facebookresearch/ijepa:src/models/vision_transformer.py. V-JEPA
    (2404.08471), facebookresearch/jepa:src/models/predictor.py. IWM (2403.00504), section 3, "feature" conditioning.
    """

    def __init__(
        self,
        width: int,
        inner: int,
        depth: int,
        heads: int,
        place: nn.Module | None = None,
        eps: float = 1e-6,
        init: Initialization = "released",
        shared: bool = False,
        condition: int = 0,
        out: int = 0,
    ):
        super().__init__()
        self.shared, self.condition = shared, condition
        self.into, self.out = nn.Linear(width, inner), nn.Linear(inner, out or width)
        self.blocks = nn.ModuleList(Block(inner, heads, eps=eps) for _ in range(depth))
        self.norm = nn.LayerNorm(inner, eps=eps)
        if condition:
            self.mix = nn.Sequential(
                nn.Linear(inner + condition, inner), nn.ReLU(), nn.Linear(inner, inner), nn.ReLU(),
                nn.Linear(inner, inner),
            )  # fmt: skip
        initialize(self, init)
        self.mask_token = nn.Parameter(torch.randn(inner) * 0.02)
        self.place = SinCos(inner) if place is None else place

    def forward(
        self, context: Tokens, query: Float[Tensor, "B M K P"], condition: Float[Tensor, "B C"] | None = None
    ) -> Float[Tensor, "B M K D"]:
        """One embedding for each queried coordinate.

        Raises:
            ShapeError: a condition is missing, not expected, or has another width than the predictor was made for.
        """
        blocks, kept = query.shape[1:3]
        seen = self.into(context.x) + self.place(context.pos)  # [B, N, inner]
        asked = self._asked(query, condition)  # [B, M, K, inner]
        if self.shared:
            asked = asked.flatten(1, 2)[:, None]  # one sequence of M * K
        x = torch.cat([seen[:, None].expand(-1, asked.shape[1], -1, -1), asked], 2).flatten(0, 1)
        out = self.out(self.norm(through(self.blocks, x)[:, seen.shape[1] :]))
        return out.view(len(query), blocks, kept, -1)

    def _asked(self, query: Float[Tensor, "B M K P"], condition: Tensor | None) -> Float[Tensor, "B M K D"]:
        given = 0 if condition is None else condition.shape[-1]
        if given != self.condition:
            raise ShapeError(f"the predictor was made for a condition of {self.condition} numbers, got {given}")
        asked = self.mask_token + self.place(query)
        if condition is None:
            return asked
        spread = condition[:, None, None].expand(-1, *query.shape[1:3], -1).to(asked.dtype)
        return self.mix(torch.cat([asked, spread], -1))


class ConditionedBlock(nn.Module):
    """Causal transformer block whose norms are scaled, shifted and gated by a condition (AdaLN-zero).

    The condition's norms have no parameters, and attention and MLP begin with a norm of their own that has.
    Source: galilai-group/stable-worldmodel:wm/lewm/module.py; DiT (arXiv 2212.09748) for AdaLN-zero.
    """

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.attn_norm = nn.LayerNorm(width)
        self.attn = Attention(width, heads, head_width, bias=False, causal=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Float[Tensor, "B T D"], condition: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """One block; the condition of step t acts on token t."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(6, -1)
        plain = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale1) + shift1
        x = x + gate1 * F.dropout(self.attn(self.attn_norm(plain)), self.dropout, self.training)
        plain = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale2) + shift2
        hidden = F.dropout(F.gelu(self.fc1(self.mlp_norm(plain))), self.dropout, self.training)
        return x + gate2 * F.dropout(self.fc2(hidden), self.dropout, self.training)


class CausalPredictor(nn.Module):
    """The next latent after each step, from the latents up to it and the actions taken there; `history` steps at most.

    Source: LeWM (arXiv 2603.19312); galilai-group/stable-worldmodel:wm/lewm/module.py (`ARPredictor`).
    """

    def __init__(
        self, width: int, depth: int, heads: int, head_width: int, hidden: int, history: int, dropout: float = 0.1
    ):
        super().__init__()
        self.dropout = dropout
        self.position = nn.Parameter(torch.randn(history, width))
        self.blocks = nn.ModuleList(ConditionedBlock(width, heads, head_width, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Float[Tensor, "B T D"], condition: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Predictions of the latents at steps 1..T, for T <= history."""
        x = F.dropout(z + self.position[: z.shape[1]], self.dropout, self.training)
        for block in self.blocks:
            x = block(x, condition)
        return self.norm(x)
