"""Terms of trajectories beside float64 references, on collapsed, copied and huge latents, and over two processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from armillary.errors import ShapeError
from armillary.functional.trajectory import moments, time_similarity, time_variance
from armillary.randomness import numbered

B, T, D = 9, 5, 4
Z = numbered(B).normal("z", T, D) * torch.tensor([0.1, 0.5, 1.0, 2.0]) + 3.0
INPUTS = {
    "spread": Z,
    "constant": torch.ones(B, T, D),
    "rank 1": numbered(B).normal("one", T, 1) * torch.ones(D),
    "duplicate rows": Z[:1].expand(B, T, D),
    "still": Z[:, :1].expand(B, T, D),
    "huge": 1e4 * Z,
    "one dimension": Z[..., 2:3],
    "fewer rows than dimensions": Z[:2],
}


def hinge_and_covariance(rows: np.ndarray) -> tuple[float, float]:
    """From the definition, entry by entry."""
    n, width = rows.shape
    c = [[np.sum((rows[:, d] - rows[:, d].mean()) * (rows[:, e] - rows[:, e].mean())) / (n - 1) for e in range(width)]
         for d in range(width)]  # fmt: skip
    hinge = np.mean([max(0.0, 1 - np.sqrt(c[d][d] + 1e-4)) for d in range(width)])
    beside = [c[d][e] ** 2 for d in range(width) for e in range(width) if d != e]
    return float(hinge), float(np.mean(beside)) if beside else 0.0


@pytest.mark.parametrize("samples", ["first", "each", "all"])
@pytest.mark.parametrize("name", INPUTS)
def test_moments_are_those_of_the_definition(name, samples):
    x = INPUTS[name].double().numpy()
    groups = {"first": [x[:, 0]], "each": [x[:, t] for t in range(T)], "all": [x.reshape(-1, x.shape[2])]}[samples]
    expected = np.mean([hinge_and_covariance(g) for g in groups], 0)
    variance, beside = moments(INPUTS[name], samples)
    assert variance.item() == pytest.approx(expected[0], rel=1e-4, abs=1e-6)
    assert beside.item() == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", INPUTS)
def test_terms_over_time_are_those_of_the_definition(name):
    x = INPUTS[name].double().numpy()
    spread = [[max(0.0, 1 - np.sqrt(np.sum((p - p.mean()) ** 2) / (T - 1) + 1e-4)) for p in row.T] for row in x]
    jump = [(x[b, t + 1, d] - x[b, t, d]) ** 2 for b in range(len(x)) for t in range(T - 1) for d in range(x.shape[2])]
    assert time_variance(INPUTS[name]).item() == pytest.approx(np.mean(spread), rel=1e-4, abs=1e-6)
    assert time_similarity(INPUTS[name]).item() == pytest.approx(np.mean(jump), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", INPUTS)
def test_gradients_are_finite_wherever_latents_are(name):
    z = INPUTS[name].clone().requires_grad_()
    (sum(moments(z, "each")) + time_variance(z) + time_similarity(z)).backward()
    assert z.grad is not None and z.grad.isfinite().all()


def test_moments_see_the_first_step_only_unless_asked():
    z = Z - 3.0
    moved = torch.cat([z[:, :1], 0.01 * z[:, 1:]], 1)
    assert moments(moved) == moments(z)
    for samples in ("each", "all"):
        assert moments(moved, samples)[0] > moments(z, samples)[0] + 0.1


def test_a_batch_that_agrees_at_each_step_has_no_spread_but_moves():
    """What tells "each" from "all", and the batch from time."""
    z = Z[:1].expand(B, T, D)
    assert moments(z, "each")[0].item() == pytest.approx(1 - 0.01)
    assert moments(z, "all")[0] < 0.8
    assert time_variance(z) < 0.9 and time_variance(Z[:, :1].expand(B, T, D)).item() == pytest.approx(1 - 0.01)


def test_constants_change_nothing():
    assert torch.allclose(terms(Z), terms(Z + torch.tensor([5.0, -3.0, 0.0, 1.0])), rtol=1e-4)


def test_too_little_is_named():
    with pytest.raises(ShapeError, match="at least 2 rows"):
        moments(Z[:1])
    for term in (time_variance, time_similarity):
        with pytest.raises(ShapeError, match=r"2 steps on axis 1, got shape \(9, 1, 4\)"):
            term(Z[:, :1])


def test_terms_are_float32_of_bfloat16_latents():
    rough = Z.bfloat16()
    for found, wanted in zip((*moments(rough), time_variance(rough)), (*moments(Z), time_variance(Z)), strict=True):
        assert found.dtype == torch.float32 and torch.allclose(found, wanted, rtol=0.03, atol=0.01)


def terms(z: torch.Tensor) -> torch.Tensor:
    return torch.stack([*moments(z), *moments(z, "each"), *moments(z, "all"), time_variance(z), time_similarity(z)])


def share(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    z = numbered(8).normal("z", T, D).chunk(2)[rank].clone().requires_grad_()
    found = terms(z)
    found.sum().backward()
    torch.save([found.detach(), z.grad / 2], f"{folder}/{rank}.pt")  # averaged, as data-parallel training does
    dist.destroy_process_group()


def test_two_processes_give_the_terms_and_gradients_of_one(tmp_path: Path):
    processes.spawn(share, (str(tmp_path),), nprocs=2)
    z = numbered(8).normal("z", T, D).requires_grad_()
    wanted = terms(z)
    wanted.sum().backward()
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.allclose((found[0][0] + found[1][0]) / 2, wanted.detach(), rtol=1e-5)  # as a rank's log is averaged
    assert torch.allclose(found[0][0][:6], found[1][0][:6], rtol=1e-6)
    assert torch.allclose(torch.cat([gradient for _, gradient in found]), z.grad, atol=1e-6)
