"""Value-guided JEPA: its loss beside a float64 reference, its goals, who gets which gradient, what it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from armillary.contracts import build, check_dynamics, check_method
from armillary.errors import ConfigError, ShapeError
from armillary.methods.control import lewm, value_guided
from armillary.planning.rollout import rollout
from armillary.planning.terms import chosen, named
from armillary.randomness import Random, numbered

DISTANCES = ("euclidean", "interval", "residual")


def made(**changes) -> tuple[value_guided.ValueGuided, dict[str, Tensor]]:
    method, batch = value_guided.tiny()
    return build(replace(method.config, **changes), 1), batch  # type: ignore[return-value]


def far(x: np.ndarray, y: np.ndarray, method: value_guided.ValueGuided) -> float:
    """The distance of two latents by its definition."""
    if method.config.distance == "euclidean":
        return math.dist(x, y)
    if method.config.distance == "residual":
        half = len(x) // 2
        return math.dist(x[:half], y[:half]) + max(0.0, *(y[half:] - x[half:]))
    lengths = []
    for low, high in zip(x.reshape(-1, method.config.group), y.reshape(-1, method.config.group), strict=True):
        grid = np.sort(np.concatenate([low, high]))
        inside = [any(a <= p < b for a, b in zip(low, high, strict=True)) for p in grid[:-1]]
        lengths.append((np.diff(grid) * inside).sum())
    balance = 1 / (1 + math.exp(-float(method.balance)))
    return balance * max(lengths) + (1 - balance) * sum(lengths) / len(lengths)


def wanted(now: np.ndarray, then: np.ndarray, goal: np.ndarray, at: np.ndarray, method) -> float:
    """Equation of section 3.2, one term after another: latents of states, the same for targets, goals, their frames."""
    c, total, count = method.config, 0.0, 0
    for b, n in np.ndindex(at.shape):
        for t in range(now.shape[1] - 1):
            value = -far(now[b, t], goal[b, n], method)
            target = 0.0 if at[b, n] == t else -1 + c.discount * -far(then[b, t + 1], goal[b, n], method)
            error = target - value
            total += abs(c.expectile - (error < 0)) * error**2
            count += 1
    return total / count


def latents(*shape: int) -> Tensor:
    return numbered(shape[0], 7).normal("z", *shape[1:])


@pytest.mark.parametrize("history", [1, 2, 3])
@pytest.mark.parametrize("distance", DISTANCES)
def test_dynamics_and_method_keep_their_contracts(history: int, distance: str):
    method, batch = made(history=history, distance=distance)
    check_method(method, batch)
    for frames in (1, 2, 4):
        seen = {"image": batch["image"][:, :frames], "action": batch["action"][:, : frames - 1]}
        check_dynamics(method.eval(), seen, batch["action"][:, 0])


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_value_term_is_its_equation(distance: str):
    method, batch = made(distance=distance, own_goals=2, expectile=0.8)
    z, random = latents(8, 4, 16), Random(3, 5, batch["index"])
    goal, at = (x.double().numpy() for x in method.goals(z, random))
    frames = z.double().numpy()
    assert float(method.value(z, random).detach()) == pytest.approx(wanted(frames, frames, goal, at, method), rel=1e-4)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_target_gets_no_gradient(distance: str):
    method, _ = made(distance=distance, random_goals=0)
    z = latents(2, 3, 16).requires_grad_()
    random = numbered(2, step=1)
    method.value(z, random).backward()
    assert z.grad is not None

    def moved(b: int, t: int, d: int, by: float) -> float:
        frames = z.detach().double().numpy()
        now = frames.copy()
        now[b, t, d] += by  # where it is a state or the goal of a state, not in the target
        value, still = 0.0, frames[:, -1:]
        for row, k in np.ndindex(2, 2):
            error = -1 - method.config.discount * far(frames[row, k + 1], still[row, 0], method)
            error += far(now[row, k], now[row, -1], method)
            value += abs(method.config.expectile - (error < 0)) * error**2 / 4
        return value

    for b, t, d in np.ndindex(2, 3, 16):
        slope = (moved(b, t, d, 1e-5) - moved(b, t, d, -1e-5)) / 2e-5
        assert float(z.grad[b, t, d]) == pytest.approx(slope, abs=2e-3)


def test_goals_are_the_last_frame_frames_of_the_window_and_frames_of_others():
    method, batch = made(own_goals=3, random_goals=5)
    z, random = latents(8, 4, 16), Random(0, 1, batch["index"])
    goal, at = method.goals(z, random)
    assert goal.shape == (8, 8, 16) and bool((at[:, 0] == 3).all()) and bool((at[:, 3:] == -1).all())
    for b in range(8):
        assert all(torch.equal(goal[b, n], z[b, at[b, n]]) for n in range(3))
    places = (goal[:, 3:, None, None] == z[None, None]).all(-1).nonzero()  # row, goal, row it is of, frame
    assert len(places) == 40 and bool((places[:, 0] != places[:, 2]).all())
    for n in range(5):
        given = places[places[:, 1] == n, 2]
        assert given.sort().values.tolist() == list(range(8)), "in a round each row gives one goal"
    assert len(places[:, 3].unique()) == 4
    other = method.goals(z, Random(0, 2, batch["index"]))[0]
    assert not torch.equal(goal[:, 3:], other[:, 3:])
    alone, frame = method.goals(z[:1], Random(0, 1, batch["index"][:1]))
    assert torch.equal(alone[0], z[0, frame[0]]), "a row without others knows its own frames"


def test_predictions_are_the_dynamics_own_steps_from_the_first_latents():
    method, batch = made(history=2)
    method.eval()
    z = method.latents(batch["image"])
    predicted, target = method.unrolled(z, batch["action"])
    assert torch.equal(target, z[:, 2:])
    state = method.start({"image": batch["image"][:, :2], "action": batch["action"][:, :1]})
    torch.testing.assert_close(rollout(method, state, batch["action"][:, 1:]), predicted)
    assert predicted.shape[1] == 2
    moved = batch["action"].clone()
    moved[:, 2] += 1
    changed = method.unrolled(z, moved)[0]
    assert torch.equal(changed[:, 0], predicted[:, 0]) and not torch.equal(changed[:, 1], predicted[:, 1])


def test_a_start_with_few_frames_is_one_that_stood_still():
    method, batch = made(history=3)
    method.eval()
    image, action = batch["image"], batch["action"]
    still = image[:, :1].expand(-1, 3, -1, -1, -1)
    short = method.start({"image": image[:, :1], "action": action[:, :0]})
    assert torch.allclose(short[0], method.start({"image": still, "action": action[:, :2]})[0], atol=1e-6)


def test_weight_0_is_prediction_alone():
    method, batch = made(value_weight=0.0, separate=False)
    random = Random(0, 1, batch["index"])
    terms = method.loss(batch, random)
    assert terms.keys() == method.weights.keys() == {"prediction"}
    predicted, target = (x.detach().double().numpy() for x in method.unrolled(
        method.latents(batch["image"]), batch["action"]))  # fmt: skip
    assert float(method.energy(terms).detach()) == pytest.approx(((predicted - target) ** 2).mean(), rel=1e-5)
    check_method(method, batch)
    valued = build(replace(method.config, value_weight=2.0), 1)
    valued.load_state_dict(method.state_dict())
    assert torch.equal(valued.loss(batch, random)["prediction"], terms["prediction"])


def test_vicreg_terms_are_there_where_they_have_a_weight():
    method, batch = made(variance_weight=2.0, covariance_weight=0.5)
    terms = method.loss(batch, Random(0, 1, batch["index"]))
    flat = method.latents(batch["image"]).flatten(0, 1).detach().double().numpy()
    spread = np.cov(flat.T)
    hinge = np.maximum(0, 1 - np.sqrt(spread.diagonal() + 1e-4)).mean()
    assert float(terms["variance"].detach()) == pytest.approx(hinge, rel=1e-4)
    beside = (spread**2).sum() - (spread.diagonal() ** 2).sum()
    assert float(terms["covariance"].detach()) == pytest.approx(beside / (16 * 15), rel=1e-4)
    assert method.weights == {"prediction": 1.0, "value": 4.0, "variance": 2.0, "covariance": 0.5}
    assert "covariance" not in made(variance_weight=2.0)[0].weights


@pytest.mark.parametrize("separate", [True, False])
def test_the_encoder_learns_of_predictions_only_where_it_is_not_separate(separate: bool):
    method, batch = made(separate=separate)
    method.loss(batch, Random(0, 1, batch["index"]))["prediction"].backward()
    seeing = [p for part in (method.encoder, method.project) for p in part.parameters()]
    assert all(p.grad is None for p in seeing) == separate
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in method.predictor.parameters())


def test_values_teach_the_encoder_and_leave_the_predictor_alone():
    method, batch = made()
    method.loss(batch, Random(0, 1, batch["index"]))["value"].backward()
    assert all(p.grad is not None for p in (*method.encoder.parameters(), method.balance))
    assert all(p.grad is None for p in method.predictor.parameters())


def test_plans_can_take_the_learned_distance():
    method, _ = made()
    z, goal = latents(5, 16), latents(6, 16)[1:]
    assert torch.equal(chosen("learned", method)(z, goal), method.goal_distance(z, goal))
    assert chosen("l1", method) is named("l1")
    assert bool((method.goal_distance(z, z) == 0).all())
    with pytest.raises(ConfigError, match=r"LeWM learned no distance.*squared, l1, l2, cosine.*value_guided"):
        chosen("learned", lewm.tiny()[0])


SIDE, PIXELS = 5, 3
WALL = {(2, 0), (2, 1), (2, 2), (2, 3)}  # but for a door at the end
CELLS = [(r, c) for r in range(SIDE) for c in range(SIDE) if (r, c) not in WALL]
NEXT = {cell: [(cell[0] + r, cell[1] + c) for r, c in ((0, 1), (0, -1), (1, 0), (-1, 0))] for cell in CELLS}


def pictures(cells: Tensor) -> Tensor:
    """Images [..., 3, 16, 16] of a dot in each of the cells; the wall is not painted."""
    image = torch.zeros(*cells.shape, 3, 16, 16)
    for place in np.ndindex(*cells.shape):
        r, c = CELLS[int(cells[place])]
        image[place][:, PIXELS * r : PIXELS * (r + 1), PIXELS * c : PIXELS * (c + 1)] = 1.0
    return image


def walks(count: int, frames: int) -> tuple[Tensor, Tensor]:
    """Random walks, cells [count, frames] and moves [count, frames - 1, 2]; a wall stops a move."""
    random, at = numbered(count, 5), []
    here = random.integers("walk/start", len(CELLS), 1)[:, 0]
    drawn, moves = random.integers("walk/way", 4, frames - 1), torch.tensor([[0.0, 1], [0, -1], [1, 0], [-1, 0]])
    for t in range(frames):
        at.append(here)
        if t < frames - 1:
            ahead = [NEXT[CELLS[i]][w] for i, w in zip(here.tolist(), drawn[:, t].tolist(), strict=True)]
            here = torch.tensor(
                [CELLS.index(a) if a in CELLS else i for a, i in zip(ahead, here.tolist(), strict=True)]
            )
    return torch.stack(at, 1), moves[drawn]


def steps_between() -> np.ndarray:
    found = np.array([[0.0 if a == b else 1.0 if b in NEXT[a] else 99.0 for b in CELLS] for a in CELLS])
    for k in range(len(CELLS)):
        found = np.minimum(found, found[:, k : k + 1] + found[k : k + 1])
    return found


def test_distances_learned_from_pictures_of_random_walks_lead_around_the_wall():
    cells, action = walks(256, 6)
    image, every = pictures(cells), pictures(torch.arange(len(CELLS)))
    method = build(value_guided.Config(
        value_guided.ConvNet(image=16, widths=(16, 16)), width=32, hidden=64, discount=0.9, expectile=0.8,
    ), 0)  # fmt: skip
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for step in range(1, 301):
        rows = numbered(64, step).integers("rows", len(cells), 1)[:, 0]
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 301)
        batch = {"index": rows, "image": image[rows], "action": action[rows]}
        method.energy(method.loss(batch, Random(0, step, rows))).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        z = method.eval().latents(every[:, None])[:, 0]
        found = method.goal_distance(z[:, None], z[None]).double().numpy()
    true, plane = steps_between(), np.array([[math.dist(a, b) for b in CELLS] for a in CELLS])
    others = true > 0
    rank, in_plane = spearmanr(found[others], true[others])[0], spearmanr(plane[others], true[others])[0]
    assert rank > 0.9 > in_plane + 0.05
    behind = CELLS.index((3, 0)), CELLS.index((1, 0)), CELLS.index((4, 2))  # the wall between the first two
    assert plane[behind[0], behind[1]] < plane[behind[0], behind[2]]
    assert found[behind[0], behind[1]] > found[behind[0], behind[2]]


def test_what_does_not_fit_is_named():
    method, batch = made()
    with pytest.raises(ShapeError, match=r"3 numbers.*built for 4.*frame_skip"):
        method.predict(latents(8, 2, 16), batch["action"][:, 0, :3])
    with pytest.raises(ShapeError, match=r"2 frames and 1 actions.*history 2 \+ rollout 1: use 3"):
        method.unrolled(latents(8, 2, 16), batch["action"][:, :1])
    with pytest.raises(ShapeError, match="windows of 1 frame"):
        method.value(latents(8, 1, 16), numbered(8))
    for changes, said in (
        ({"own_goals": 0, "random_goals": 0}, "values need a goal"),
        ({"value_weight": 0.0}, "separate without a value_weight"),
        ({"group": 5}, r"width is 16.*multiples of 5"),
        ({"distance": "residual", "width": 15}, "multiples of 2"),
        ({"discount": 1.5}, r"discount is 1\.5"),
        ({"expectile": -0.1}, r"expectile is -0\.1"),
        ({"value_weight": -1.0}, r"value_weight is -1\.0"),
        ({"history": 0}, "history is 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            replace(method.config, **changes)
