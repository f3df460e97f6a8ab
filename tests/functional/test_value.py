"""Expectiles, quasi-metrics and distances as values, beside float64 references written another way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr

from armillary.errors import ConfigError, ShapeError
from armillary.functional.value import euclidean, expectile, interval, reaching, residual
from armillary.randomness import numbered

RANDOM = numbered(40)


def covered(x: np.ndarray, y: np.ndarray) -> float:
    """Length of the union of intervals [x_j, max(x_j, y_j)]: pieces between all ends that some interval covers."""
    ends = np.unique(np.concatenate([x, y]))
    return sum(b - a for a, b in itertools.pairwise(ends) if any(s <= a and b <= e for s, e in zip(x, y, strict=True)))


def wanted_interval(x: np.ndarray, y: np.ndarray, size: int, balance: float) -> float:
    lengths = [covered(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return balance * max(lengths) + (1 - balance) * sum(lengths) / len(lengths)


def wanted_residual(x: np.ndarray, y: np.ndarray, *_: object) -> float:
    half = len(x) // 2
    return math.dist(x[:half], y[:half]) + max(0.0, *(b - a for a, b in zip(x[half:], y[half:], strict=True)))


DISTANCES = {
    "euclidean": (lambda x, y: euclidean(x, y), lambda x, y: math.dist(x, y)),
    "interval": (lambda x, y: interval(x, y, 4, 0.3), lambda x, y: wanted_interval(x, y, 4, 0.3)),
    "one interval": (lambda x, y: interval(x, y, 1, 0.5), lambda x, y: wanted_interval(x, y, 1, 0.5)),
    "one group": (lambda x, y: interval(x, y, 8, torch.tensor(1.0)), lambda x, y: wanted_interval(x, y, 8, 1.0)),
    "residual": (lambda x, y: residual(x, y), wanted_residual),
}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_expectile_is_its_formula(share: float):
    x = RANDOM.normal("x", 3)
    weights = [share if value >= 0 else 1 - share for value in x.flatten().tolist()]
    found = sum(w * v**2 for w, v in zip(weights, x.double().flatten().tolist(), strict=True)) / x.numel()
    assert float(expectile(x, share)) == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 0.25), (0.9, 0.75), (0.99, 99 / 102)])
def test_what_minimizes_the_expectile_goes_from_the_mean_to_the_best(share: float, wanted: float):
    outcomes = torch.tensor([0.0, 0.0, 0.0, 1.0])  # share * (1 - m) = (1 - share) * 3 m
    best = minimize_scalar(lambda m: float(expectile(outcomes - m, share)), bounds=(0, 1), method="bounded")
    assert best.x == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("kind", ["random", "equal", "constant", "huge", "ties", "above"])
def test_distances_are_their_formulas(name: str, kind: str):
    found, wanted = DISTANCES[name]
    x, y = RANDOM.normal("x", 8), RANDOM.normal("y", 8)
    x, y = {
        "random": (x, y), "equal": (x, x.clone()), "constant": (torch.ones(40, 8), torch.ones(40, 8)),
        "huge": (1e6 * x, 1e6 * y), "ties": (x.round(), y.round()), "above": (x.abs() + 5, y),
    }[kind]  # fmt: skip
    for a, b, d in zip(x.double().numpy(), y.double().numpy(), found(x, y).tolist(), strict=True):
        assert d == pytest.approx(wanted(a, b), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_quasi_metrics(name: str):
    found, _ = DISTANCES[name]
    x = torch.cat([RANDOM.normal("x", 8), RANDOM.normal("y", 8).round(), torch.zeros(1, 8)])
    all_ = found(x[:, None], x[None])
    assert bool((all_.diagonal() == 0).all()) and bool((all_ >= 0).all())
    around = all_[:, :, None] + all_[None]  # from i through j to k
    assert bool((all_[:, None] <= around + 1e-5).all())
    assert torch.allclose(found(3 * x[:, None], 3 * x[None]), 3 * all_, rtol=1e-5)
    symmetric = torch.allclose(all_, all_.T)
    assert symmetric == (name == "euclidean")


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_are_finite_where_latents_coincide_and_right_elsewhere(name: str):
    found, wanted = DISTANCES[name]
    x = torch.zeros(2, 8, requires_grad=True)
    found(x, torch.zeros(2, 8)).sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())
    a, b = RANDOM.normal("x", 8)[:3], RANDOM.normal("y", 8)[:3]
    a.requires_grad_()
    found(a, b).sum().backward()
    assert a.grad is not None
    for i, j in itertools.product(range(3), range(8)):
        low, high = a.detach().double().numpy().copy(), a.detach().double().numpy().copy()
        low[i, j] -= 1e-6
        high[i, j] += 1e-6
        slope = (wanted(high[i], b[i].double().numpy()) - wanted(low[i], b[i].double().numpy())) / 2e-6
        assert float(a.grad[i, j]) == pytest.approx(slope, abs=1e-3)


def test_the_loss_is_its_formula_in_values():
    now, then = 5 * RANDOM.uniform("now", 3), 5 * RANDOM.uniform("then", 3)
    reached = RANDOM.uniform("reached", 3) < 0.2
    total = 0.0
    for d, e, r in zip(now.flatten().tolist(), then.flatten().tolist(), reached.flatten().tolist(), strict=True):
        value, later = -d, -e
        x = (0.0 if r else -1 + 0.9 * later) - value
        total += abs(0.7 - (x < 0)) * x**2
    assert float(reaching(now, then, reached, 0.9, 0.7)) == pytest.approx(total / 120, rel=1e-5)


def test_the_target_gets_no_gradient():
    now, then = RANDOM.uniform("now", 2).requires_grad_(), RANDOM.uniform("then", 2).requires_grad_()
    reaching(now, then, torch.zeros(40, 2, dtype=torch.bool), 0.9, 0.7).backward()
    assert then.grad is None and now.grad is not None and bool((now.grad != 0).all())


SIDE, GAMMA = 5, 0.95
WALL = {(2, 0), (2, 1), (2, 2), (2, 3)}  # row 2, but for its last cell: a door
CELLS = [(r, c) for r in range(SIDE) for c in range(SIDE) if (r, c) not in WALL]


def steps_between(one_way: bool = False) -> np.ndarray:
    """Steps from each free cell to each other, by Floyd and Warshall. one_way: the door is passed downward only."""
    n = len(CELLS)
    far = np.full((n, n), 99.0)
    np.fill_diagonal(far, 0)
    for i, (r, c) in enumerate(CELLS):
        for j, (s, d) in enumerate(CELLS):
            if abs(r - s) + abs(c - d) == 1 and not (one_way and r > s and 2 in (r, s)):
                far[i, j] = 1
    for k in range(n):
        far = np.minimum(far, far[:, k : k + 1] + far[k : k + 1])
    return far


def learned(distance, far: np.ndarray, width: int = 32) -> np.ndarray:
    """Distances of free latents of the cells after learning from all single steps, each goal equally often."""
    z = torch.nn.Parameter(0.3 * numbered(len(CELLS)).normal("z", width))
    start, end = (torch.from_numpy(i) for i in np.nonzero(far == 1))
    reached = start[:, None] == torch.arange(len(CELLS))[None]
    optimizer = torch.optim.Adam([z], lr=0.03)
    for i in range(700):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - i / 700)
        all_ = distance(z[:, None], z[None])
        optimizer.zero_grad()
        reaching(all_[start], all_[end], reached, GAMMA, 0.97).backward()
        optimizer.step()
    return distance(z[:, None], z[None]).detach().double().numpy()


@pytest.mark.parametrize("name", ["euclidean", "interval", "residual"])
def test_learned_distances_are_the_steps_around_a_wall(name: str):
    far = steps_between()
    found = learned({**DISTANCES, "interval": (lambda x, y: interval(x, y, 8, 0.3), None)}[name][0], far)
    steps = np.log1p(-np.minimum(found, 0.999 / (1 - GAMMA)) * (1 - GAMMA)) / math.log(GAMMA)  # undiscounted
    plane = np.array([[math.dist(a, b) for b in CELLS] for a in CELLS])
    others = far > 0
    assert spearmanr(steps[others], far[others])[0] > max(0.95, 0.1 + spearmanr(plane[others], far[others])[0])
    assert np.abs(steps - far)[others].mean() < 1.0
    way = [CELLS.index((1, c)) for c in range(SIDE)] + [CELLS.index((r, 4)) for r in (2, 3)]
    way += [CELLS.index((3, c)) for c in (3, 2, 1, 0)]  # from one side of the wall to the other, through the door
    assert bool((np.diff(found[way, way[-1]]) < 0).all()), "each step of the shortest way leads nearer"
    assert not bool((np.diff(plane[way, way[-1]]) < 0).all()), "in the plane the first steps lead away"


def test_a_quasi_metric_learns_a_one_way_door_and_the_euclidean_distance_cannot():
    far = steps_between(one_way=True)
    down = far[CELLS.index((1, 4)), CELLS.index((3, 4))], far[CELLS.index((3, 4)), CELLS.index((1, 4))]
    assert down == (2, 99)
    places = CELLS.index((1, 4)), CELLS.index((3, 4))
    quasi = learned(lambda x, y: interval(x, y, 8, 0.3), far)
    plain = learned(euclidean, far)
    assert quasi[places[::-1]] > 3 * quasi[places], "the way back, which is not there, is far"
    assert quasi[places] == pytest.approx(1 + GAMMA, rel=0.3)
    assert plain[places[::-1]] == plain[places]


def test_wrong_input_is_named():
    x = torch.zeros(2, 6)
    with pytest.raises(ShapeError, match="6 numbers are no groups of 4"):
        interval(x, x, 4, 0.5)
    with pytest.raises(ShapeError, match="no groups of 0"):
        interval(x, x, 0, 0.5)
    with pytest.raises(ShapeError, match="5 numbers have no halves"):
        residual(x[:, :5], x[:, :5])
    with pytest.raises(ConfigError, match=r"expectile is 1\.5"):
        expectile(x, 1.5)
    with pytest.raises(ConfigError, match="discount is 2"):
        reaching(x[0], x[0], x[0] > 0, 2, 0.5)
