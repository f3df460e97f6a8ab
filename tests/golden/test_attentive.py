"""The attentive probe computes what V-JEPA's released probe computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.nn.pooling import AttentiveClassifier

from .fixture import close, fill, golden, part

NAMES = [("pooler.query_tokens", "query"), ("pooler.cross_attention_block", "cross"), ("pooler.blocks", "blocks"),
         ("xattn", "attn"), ("linear.", "head.")]  # fmt: skip


def released(case: str, depth: int) -> tuple[AttentiveClassifier, dict[str, Tensor]]:
    tensors, meta = golden("image-video/vjepa_attentive_probe_tiny")
    config = meta["config"]
    probe = AttentiveClassifier(config["dim"], config["heads"], config["classes"], depth)
    fill(probe, part(tensors, f"{case}/classifier/"), NAMES, ignore=("xattn.proj",))
    return probe, tensors


@pytest.mark.parametrize(("case", "depth"), [("depth1", 1), ("depth3", 3)])
def test_pooled_tokens_and_logits_equal_the_released_ones(case, depth):
    probe, t = released(case, depth)
    close(probe.pooled(t["in/tokens"]), t[f"out/{case}/pooled"])
    close(probe(t["in/tokens"]), t[f"out/{case}/logits"])


def test_the_norms_have_the_released_epsilon():
    probe, t = released("depth1", 1)
    wanted = golden("image-video/norm_eps_probes")[0]["out/vjepa/probe_depth1_scaled_tokens"]
    close(probe(t["in/tokens"] * 0.01), wanted)


def test_the_order_of_the_tokens_changes_nothing():
    probe, t = released("depth3", 3)
    close(probe(t["in/tokens"].flip(1)), probe(t["in/tokens"]))
    assert not torch.allclose(probe(t["in/tokens"][:, 1:]), probe(t["in/tokens"]), atol=1e-3)
