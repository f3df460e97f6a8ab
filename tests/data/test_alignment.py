"""The shift of actions is found by the regression, against dynamics that are known and a reference of its error."""

import numpy as np
import pytest

from armillary.data.alignment import SHIFTS, alignment


def walks(count=8, length=40, seed=0, inertia=0.0):
    """Random walks pushed by random actions, with inertia."""
    generator = np.random.default_rng(seed)
    effect = generator.normal(size=(2, 3))
    states, actions = [], []
    for _ in range(count):
        action = generator.normal(size=(length - 1, 2))
        x, v, path = np.zeros(3), np.zeros(3), [np.zeros(3)]
        for a in action:
            v = inertia * v + a @ effect
            x = x + v + 0.05 * generator.normal(size=3)
            path.append(x)
        states.append(np.array(path))
        actions.append(action)
    return states, actions


def shifted(actions, shift):
    """Actions stored so that the right one is found `shift` rows later."""
    return [np.roll(action, shift, 0) for action in actions]


@pytest.mark.parametrize("inertia", [0.0, 0.9])
@pytest.mark.parametrize("shift", SHIFTS)
def test_the_shift_is_found(shift, inertia):
    states, actions = walks(inertia=inertia)
    found = alignment(states, shifted(actions, shift))
    assert found is not None and found.best == shift and found.clear == (shift != 0)
    assert found.explained[shift] > 0.95 and found.episodes == 8
    assert found.explained[shift] > found.alone + 0.02


def test_actions_without_effect_raise_no_alarm():
    states, _ = walks()
    found = alignment(states, walks(seed=1)[1])
    assert found is not None and not found.clear and abs(found.explained[0] - found.alone) < 0.05


def test_the_unit_of_a_column_does_not_matter():
    states, actions = walks()
    one, other = (
        alignment(states, actions),
        alignment([s * [1e3, 1e-3, 1] + 7 for s in states], [a * 50 for a in actions]),
    )
    assert one is not None and other is not None
    for shift in SHIFTS:
        assert one.explained[shift] == pytest.approx(other.explained[shift], abs=1e-6)


def test_explained_agrees_with_a_regression_written_otherwise():
    """Two episodes of each fold left out, fitted by scikit-learn with the same strength."""
    linear = pytest.importorskip("sklearn.linear_model")
    states, actions = walks(count=6, length=12)
    x = [np.c_[s[1:-2], s[1:-2] - s[:-3], a[1:-1]] for s, a in zip(states, actions, strict=True)]
    spread = np.concatenate([s[2:-1] - s[1:-2] for s in states]).std(0)
    y = [(s[2:-1] - s[1:-2]) / spread for s in states]
    whole = np.concatenate(x)
    errors = np.zeros(6)
    for fold in range(5):
        own = list(range(fold, 6, 5))
        others = [i for i in range(6) if i not in own]
        ones = [np.c_[(part - whole.mean(0)) / whole.std(0), np.ones(len(part))] for part in x]
        ridge = linear.Ridge(1e-3 * len(whole), fit_intercept=False)
        ridge.fit(np.concatenate([ones[i] for i in others]), np.concatenate([y[i] for i in others]))
        for i in own:
            errors[i] = np.mean((ridge.predict(ones[i]) - y[i]) ** 2)
    found = alignment(states, actions)
    assert found is not None and found.explained[0] == pytest.approx(1 - errors.mean(), abs=1e-9)


def test_nothing_is_said_of_too_little():
    states, actions = walks(count=2)
    assert alignment(states, actions) is None
    assert alignment([np.ones((9, 2))] * 4, [np.ones((8, 1))] * 4) is None  # nothing moves
    assert alignment([np.ones((4, 2))] * 9, [np.ones((3, 1))] * 9) is None  # too short
    states, actions = walks()
    constant = alignment([np.c_[s, np.ones(len(s))] for s in states], [np.c_[a, np.zeros(len(a))] for a in actions])
    assert constant is not None and constant.best == 0  # columns that never change do no harm
