"""Terms of trajectories beside float64 references, on collapsed, copied and huge latents, and over two processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from armillary.errors import ShapeError
from armillary.functional.trajectory import moments, straightening, time_similarity, time_variance
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


def bends(z: np.ndarray, least: float = 1e-6) -> float:
    """By angles: 1 - cos = 2 sin^2 of half the angle between two steps, of pairs that have one."""
    found = []
    for way in z:
        for a, b in zip(np.diff(way, axis=0)[:-1], np.diff(way, axis=0)[1:], strict=True):
            if min(np.linalg.norm(a), np.linalg.norm(b)) > least:
                u, v = a / np.linalg.norm(a), b / np.linalg.norm(b)
                angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
                found.append(2 * np.sin(angle / 2) ** 2)
    return float(np.mean(found)) if found else 0.0


HALF_STILL = torch.cat([Z[:, :3], Z[:, 2:3].expand(-1, 4, -1)], 1)


@pytest.mark.parametrize("name", [*INPUTS, "half still"])
def test_straightening_is_that_of_the_angles(name):
    z = (INPUTS | {"half still": HALF_STILL})[name]
    assert straightening(z).item() == pytest.approx(bends(z.double().numpy()), rel=1e-5, abs=1e-6)


def test_straightening_of_straight_turning_returning_and_still_ways():
    speeds = torch.tensor([0.0, 1.0, 1.5, 9.0, 9.1])
    corner = torch.tensor([[0.0, 0], [2, 0], [2, 3], [9, 3], [9, 4]])
    line = speeds[:, None] * torch.tensor([1.0, -2.0])
    back = torch.tensor([0.0, 1, 0, 1, 0])[:, None] * torch.tensor([3.0, 4.0])
    ways = {0.0: line, 1.0: corner, 2.0: back}
    for wanted, way in ways.items():
        for moved in (way, 1e-3 * way + 5, 1e3 * way):
            assert straightening(moved[None]).item() == pytest.approx(wanted, abs=1e-3 if moved.min() > 1 else 1e-6)
    assert straightening(torch.stack(list(ways.values()))).item() == pytest.approx(1.0)
    assert straightening(torch.ones(3, 5, 2)) == 0
    mixed = torch.stack([corner, torch.ones(5, 2)])
    assert straightening(mixed).item() == pytest.approx(1.0), "still ways do not count as straight ones"


def test_straightening_looks_at_each_token_alone():
    z = numbered(3).normal("tokens", 5, 2, D)
    apart = [straightening(z[:, :, n]) for n in range(2)]
    assert torch.allclose(straightening(z), torch.stack(apart).mean()) and apart[0] != apart[1]


def test_gradient_of_straightening_is_finite_at_still_steps_and_there_none():
    z = torch.cat([HALF_STILL, torch.ones_like(HALF_STILL)]).requires_grad_()
    straightening(z).backward()
    assert z.grad is not None and z.grad.isfinite().all()
    assert z.grad[: len(Z), :3].abs().amax((0, 2)).min() > 0, "all three latents of a bend get gradient"
    assert z.grad[: len(Z), 3:].abs().max() == 0 and z.grad[len(Z) :].abs().max() == 0
    still = torch.ones(2, 5, 3, requires_grad=True)
    straightening(still).backward()
    assert still.grad is not None and still.grad.abs().max() == 0


def test_gradient_of_straightening_is_that_of_differences():
    z = Z[:2].double()
    leaf = Z[:2].clone().requires_grad_()
    straightening(leaf).backward()
    for place in np.ndindex(2, T, D):
        step = torch.zeros_like(z)
        step[place] = 1e-5
        slope = (bends((z + step).numpy()) - bends((z - step).numpy())) / 2e-5
        assert leaf.grad is not None and float(leaf.grad[place]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_descending_straightens():
    z = Z.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        straightening(z).backward()
        optimizer.step()
    assert straightening(Z) > 0.8 and straightening(z) < 0.1


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
    with pytest.raises(ShapeError, match=r"3 steps on axis 1, got shape \(9, 2, 4\)"):
        straightening(Z[:, :2])


def test_terms_are_float32_of_bfloat16_latents():
    rough = Z.bfloat16()
    found_, wanted_ = ((*moments(z), time_variance(z), straightening(z)) for z in (rough, Z))
    for found, wanted in zip(found_, wanted_, strict=True):
        assert found.dtype == torch.float32 and torch.allclose(found, wanted, rtol=0.03, atol=0.01)


def terms(z: torch.Tensor) -> torch.Tensor:
    over_time = time_variance(z), time_similarity(z), straightening(z)
    return torch.stack([*moments(z), *moments(z, "each"), *moments(z, "all"), *over_time])


def partly_still() -> torch.Tensor:
    """Of the first four trajectories one stands still: the halves have unequal numbers of bends."""
    z = numbered(8).normal("z", T, D)
    return torch.cat([z[:1, :1].expand(-1, T, -1), z[1:]])


def share(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    z = partly_still().chunk(2)[rank].clone().requires_grad_()
    found = terms(z)
    found.sum().backward()
    torch.save([found.detach(), z.grad / 2], f"{folder}/{rank}.pt")  # averaged, as data-parallel training does
    dist.destroy_process_group()


def test_two_processes_give_the_terms_and_gradients_of_one(tmp_path: Path):
    processes.spawn(share, (str(tmp_path),), nprocs=2)
    z = partly_still().requires_grad_()
    wanted = terms(z)
    wanted.sum().backward()
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.allclose((found[0][0] + found[1][0]) / 2, wanted.detach(), rtol=1e-5)  # as a rank's log is averaged
    assert torch.allclose(found[0][0][:6], found[1][0][:6], rtol=1e-6)
    assert torch.allclose(torch.cat([gradient for _, gradient in found]), z.grad, atol=1e-6)
