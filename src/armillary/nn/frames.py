"""Predictors of the patches of the next frame, for every frame of a sequence at once: no token sees a later frame."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import ShapeError
from ..functional.frames import frame_causal, frame_places
from ..functional.rotary import Rotation, rotation
from .attention import MLP, Attention, Block, Initialization, initialize


class PlainBlock(nn.Module):
    """Pre-norm transformer block with dropout, heads of any width, and no bias in queries, keys and values."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float):
        super().__init__()
        self.attn_norm, self.attn = nn.LayerNorm(width), Attention(width, heads, head_width, bias=False)
        self.mlp_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = dropout

    def forward(self, x: Float[Tensor, "B N D"], mask: Bool[Tensor, "N N"]) -> Float[Tensor, "B N D"]:
        """One block."""
        x = x + F.dropout(self.attn(self.attn_norm(x), mask=mask), self.dropout, self.training)
        hidden = F.dropout(F.gelu(self.fc1(self.mlp_norm(x))), self.dropout, self.training)
        return x + F.dropout(self.fc2(hidden), self.dropout, self.training)


class FramePredictor(nn.Module):
    """Next frames from tokens that hold patch and action together; a learned position for each patch of each frame.

    The released code also drops attention weights, we only what comes out of the maps.
    Source: DINO-WM (arXiv 2411.04983), section 3.2; gaoyuezhou/dino_wm:models/vit.py (`ViTPredictor`).
    """

    def __init__(
        self, width: int, frames: int, patches: int, depth: int, heads: int, head_width: int, hidden: int,
        dropout: float = 0.1,
    ):  # fmt: skip
        super().__init__()
        self.frames, self.dropout = frames, dropout
        self.position = nn.Parameter(torch.randn(frames * patches, width))
        self.blocks = nn.ModuleList(PlainBlock(width, heads, head_width, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Float[Tensor, "B T N D"]) -> Float[Tensor, "B T N D"]:
        """At each frame the prediction of the next one.

        Raises:
            ShapeError: more frames than there are positions.
        """
        frames, patches = z.shape[1:3]
        if frames > self.frames:
            raise ShapeError(f"{frames} frames, the predictor has positions for {self.frames}: set method.history")
        x = z.flatten(1, 2) + self.position[: frames * patches]
        x, mask = F.dropout(x, self.dropout, self.training), frame_causal(frames, patches, device=z.device)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x).unflatten(1, (frames, patches))


class TokenPredictor(nn.Module):
    """Next frames from tokens of patches and, before those of each frame, one token per condition: action, state, ...

    side: patches along a side of a frame. conditions: numbers in each condition. Rotary positions (time, row, column);
    conditions stand at row and column 0 and may be as many as there are frames.
    Source: V-JEPA 2-AC (arXiv 2506.09985), section 4; facebookresearch/vjepa2:src/models/ac_predictor.py.
    """

    def __init__(
        self, width: int, inner: int, depth: int, heads: int, side: int, conditions: tuple[int, ...],
        init: Initialization = "released",
    ):  # fmt: skip
        super().__init__()
        self.side, self.head_width = side, inner // heads
        self.into, self.out = nn.Linear(width, inner), nn.Linear(inner, width)
        self.conditions = nn.ModuleList(nn.Linear(numbers, inner) for numbers in conditions)
        self.blocks = nn.ModuleList(Block(inner, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(inner, eps=1e-6)
        initialize(self, init)
        soften(self.blocks)

    def forward(self, z: Float[Tensor, "B T N D"], *conditions: Float[Tensor, "B T _"]) -> Float[Tensor, "B T N D"]:
        """At each frame the prediction of the next one, given that frame's conditions."""
        told = [embed(condition) for embed, condition in zip(self.conditions, conditions, strict=True)]
        x = torch.cat([*(token[:, :, None] for token in told), self.into(z)], 2)  # [B, T, C + N, inner]
        frames, tokens = x.shape[1:3]
        mask, turn = frame_causal(frames, tokens, device=z.device), self.turn(frames, len(told), z.device)
        x = x.flatten(1, 2)
        for block in self.blocks:
            x = block(x, mask=mask, turn=turn)
        return self.out(self.norm(x.unflatten(1, (frames, tokens))[:, :, len(told) :]))

    def turn(self, frames: int, before: int, device: torch.device) -> Rotation:
        """Rotary positions of `frames` frames with `before` conditions each."""
        return rotation(frame_places(frames, self.side, before, device), self.head_width)


class AdaptiveBlock(nn.Module):
    """Transformer block whose normed inputs are scaled and shifted, and its outputs gated, by a condition (AdaLN)."""

    def __init__(self, width: int, heads: int, ratio: float = 4.0):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=1e-6), MLP(width, int(width * ratio))
        self.modulation = nn.Linear(width, 6 * width)

    def forward(
        self, x: Float[Tensor, "B N D"], condition: Float[Tensor, "B T D"], mask: Bool[Tensor, "N N"], turn: Rotation
    ) -> Float[Tensor, "B N D"]:
        """One block; the condition of a token's frame acts on it."""
        told = self.modulation(F.silu(condition)).repeat_interleave(x.shape[1] // condition.shape[1], 1)
        shift1, scale1, gate1, shift2, scale2, gate2 = told.chunk(6, -1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1, mask=mask, turn=turn)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class AdaptivePredictor(nn.Module):
    """Next frames from tokens of patches, `extra` features of the body beside each, under actions that modulate blocks.

    window: frames that a token sees, its own included. The extra features pass the blocks as they are; predictions of
    them are the last features after the final norm. Modulations begin at std 0.2 and not at zero.
    Source: JEPA-WM (arXiv 2512.24497); facebookresearch/jepa-wms:app/plan_common/models/AdaLN_vit.py, whose mask has no
    window in effect; its training windows are too short to tell.
    """

    def __init__(
        self, width: int, extra: int, inner: int, action: int, depth: int, heads: int, side: int, window: int,
        init: Initialization = "released",
    ):  # fmt: skip
        super().__init__()
        self.width, self.side, self.window, total = width, side, window, inner + extra
        self.head_width = total // heads
        self.into, self.out, self.embed = nn.Linear(width, inner), nn.Linear(inner, width), nn.Linear(action, total)
        self.blocks = nn.ModuleList(AdaptiveBlock(total, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(total, eps=1e-6)
        initialize(self, init)
        soften(self.blocks)
        for part in self.modules():
            if isinstance(part, AdaptiveBlock):
                nn.init.trunc_normal_(part.modulation.weight, std=0.2)

    def forward(self, z: Float[Tensor, "B T N D"], action: Float[Tensor, "B T A"]) -> Float[Tensor, "B T N D"]:
        """At each frame the prediction of the next one; D is `width` + `extra`."""
        frames, patches = z.shape[1:3]
        x = torch.cat([self.into(z[..., : self.width]), z[..., self.width :]], -1).flatten(1, 2)
        condition = self.embed(action)
        mask = frame_causal(frames, patches, self.window, z.device)
        turn = rotation(frame_places(frames, self.side, 0, z.device), self.head_width)
        for block in self.blocks:
            x = block(x, condition, mask, turn)
        x, inner = self.norm(x).unflatten(1, (frames, patches)), self.into.out_features
        return torch.cat([self.out(x[..., :inner]), x[..., inner:]], -1)


def soften(blocks: nn.ModuleList) -> None:
    """Divide the maps that end attention and MLP of block l = 1, 2, ... by sqrt(2 l), as released with both."""
    with torch.no_grad():
        for layer, block in enumerate(blocks, start=1):
            assert isinstance(block, Block | AdaptiveBlock)
            for part in (block.attn.proj, block.mlp.fc2):
                part.weight.div_(math.sqrt(2 * layer))
