"""Attention maps are those that the encoder uses, and reading them changes nothing."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError
from armillary.nn.encoder import VisionTransformer, ViT
from armillary.nn.saliency import attended, received

IMAGE = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def vit(class_token: bool) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(ViT(image=32, patch=8, width=32, depth=2, heads=2, init="xavier", class_token=class_token))


@pytest.mark.parametrize("class_token", [False, True])
def test_tokens_are_the_encoder_s(class_token):
    model = vit(class_token)
    tokens, saliency = attended(model, IMAGE, 1)
    torch.testing.assert_close(tokens.x, model(IMAGE).x)
    assert torch.equal(tokens.pos, model(IMAGE).pos) and saliency.shape == (3, 16)


def test_attention_is_a_distribution_and_weighs_the_values():
    """The weights that give the block's own output, averaged over heads and over the queries that are asked."""
    model = vit(False)
    x, block = model.embed(IMAGE).x, model.trunk.blocks[0]
    assert torch.allclose(received(block, x, 16).sum(1), torch.ones(3), atol=1e-5)
    normed = block.norm1(x)
    q, k, v = block.attn.qkv(normed).chunk(3, -1)
    heads = [(a.unflatten(-1, (2, 16)).transpose(1, 2)) for a in (q, k, v)]
    weights = (heads[0] @ heads[1].mT / 4).softmax(-1)
    out = block.attn.proj((weights @ heads[2]).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, block.attn(normed))
    torch.testing.assert_close(received(block, x, 16), weights.mean((1, 2)))
    torch.testing.assert_close(received(block, x, 1), weights[:, :, 0].mean(1))


def test_a_token_whose_key_fits_all_queries_is_salient():
    model = vit(False)
    attention = model.trunk.blocks[0].attn
    with torch.no_grad():
        attention.qkv.weight[:32], attention.qkv.bias[:32] = 0, 1.0  # all queries are one
    keys = attention.qkv(model.trunk.blocks[0].norm1(model.embed(IMAGE).x))[..., 32:64].unflatten(-1, (2, 16))
    wanted = (keys.sum(-1) / 4).softmax(1).mean(-1)
    torch.testing.assert_close(attended(model, IMAGE, 0)[1], wanted)


def test_missing_blocks_are_refused():
    with pytest.raises(ConfigError, match="block 2"):
        attended(vit(False), IMAGE, 2)
