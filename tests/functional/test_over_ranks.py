"""Two processes with half of the rows each give the losses and gradients of one process with all rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from armillary.functional.contrast import info_nce, negative_cosine, nt_xent
from armillary.functional.discrepancy import ksd, mmd, sliced_ksd, sliced_mmd, sliced_mmd_limit
from armillary.functional.distill import centered_cross_entropy, masked_cross_entropy, new_center, sinkhorn_knopp
from armillary.functional.rectified import rdmreg, rectified_samples
from armillary.functional.regularize import unit_directions
from armillary.randomness import Random, numbered

ROWS, WIDTH = 12, 5


def inputs(rank: int, ranks: int) -> list[torch.Tensor]:
    """Two views of this rank's share of the rows."""
    views = [numbered(ROWS, seed).normal("z", WIDTH).chunk(ranks)[rank].clone() for seed in (0, 1)]
    return [view.requires_grad_() for view in views]


def losses(one: torch.Tensor, two: torch.Tensor, sample: torch.Tensor) -> dict[str, torch.Tensor]:
    directions = unit_directions(WIDTH, 6, torch.Generator().manual_seed(0))
    center = new_center(torch.zeros(WIDTH), two)
    out = {
        "nt_xent": nt_xent(one, two, 0.5),
        "info_nce": info_nce(one, two),
        "negative_cosine": negative_cosine(one, two),
        "dino": centered_cross_entropy(torch.stack([one, two]), torch.stack([two, one]), center),
        "ibot": masked_cross_entropy(one[:, None], two[:, None], torch.ones(len(one), 1).bool(), center),
        "sinkhorn": (sinkhorn_knopp(two, 0.5) * one).sum(1).mean(),
        "rdmreg": rdmreg(one, rectified_samples(Random(0, 1, sample), WIDTH), directions),
        "limit": sliced_mmd_limit(one),
    }
    for unbiased in (False, True):
        out[f"mmd {unbiased}"] = mmd(one, unbiased=unbiased)
        out[f"ksd {unbiased}"] = ksd(one, unbiased=unbiased)
        out[f"sliced mmd {unbiased}"] = sliced_mmd(one, directions, unbiased=unbiased)
        out[f"sliced ksd {unbiased}"] = sliced_ksd(one, directions, unbiased=unbiased)
    return out


def measured(rank: int, ranks: int) -> dict[str, list[torch.Tensor]]:
    """Each loss and its gradient in the first view, averaged as data-parallel training does."""
    one, two = inputs(rank, ranks)
    out = {}
    for name, value in losses(one, two, torch.arange(ROWS).chunk(ranks)[rank]).items():
        (gradient,) = torch.autograd.grad(value, [one], retain_graph=True)
        out[name] = [value.detach(), gradient / ranks]
    return out


def share(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(measured(rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    processes.spawn(share, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", losses(*inputs(0, 1), torch.arange(ROWS)))
def test_two_processes_give_the_loss_and_gradient_of_one(name, halves):
    value, gradient = measured(0, 1)[name]
    found = torch.stack([half[name][0] for half in halves])
    if name == "sinkhorn":  # the assignments are over all ranks; the mean over rows is the test's own
        found = found.mean(0, keepdim=True)
    torch.testing.assert_close(found, value.expand(len(found)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.cat([half[name][1] for half in halves]), gradient, rtol=1e-4, atol=1e-6)
