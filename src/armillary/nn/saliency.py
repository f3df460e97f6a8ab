"""What a vision transformer looks at: attention that patches receive inside it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError
from ..types import Tokens
from .attention import Block
from .encoder import VisionTransformer


def attended(
    vit: VisionTransformer, image: Float[Tensor, "B C h w"], block: int
) -> tuple[Tokens, Float[Tensor, "B N"]]:
    """Patch tokens after the trunk, and the attention that each patch receives in `block`, in one pass.

    Blocks count from 0. Attention is a mean over heads; it comes from the class token where there is one, and otherwise
    from all patches, on average.
    Raises:
        ConfigError: there is no such block.
    """
    if not 0 <= block < len(vit.trunk.blocks):
        raise ConfigError(f"saliency is read in block {block}, the encoder has {len(vit.trunk.blocks)}: count from 0")
    tokens, first = vit.embed(image), int(vit.config.class_token)
    x = vit._with_class(tokens).x if first else tokens.x
    saliency = x.new_zeros(x.shape[:2])
    for place, part in enumerate(vit.trunk.blocks):
        if place == block and isinstance(part, Block):
            saliency = received(part, x, 1 if first else x.shape[1])
        x = part(x)
    return Tokens(vit.trunk.norm(x)[:, first:], tokens.pos), saliency[:, first:]


def received(block: Block, x: Float[Tensor, "B N D"], queries: int) -> Float[Tensor, "B N"]:
    """Attention that each token receives from the first `queries` tokens in a block; its sum over tokens is 1."""
    q, k, _ = (part.unflatten(-1, (block.attn.heads, -1)) for part in block.attn.qkv(block.norm1(x)).chunk(3, -1))
    logits = torch.einsum("bqhd,bkhd->bhqk", q[:, :queries], k) / math.sqrt(q.shape[-1])
    return logits.float().softmax(-1).mean((1, 2))
