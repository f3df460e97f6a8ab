"""The specification of actions is saved beside the store and refuses actions of another robot."""

import json

import numpy as np
import pytest

from armillary.data.actions import ActionSpec
from armillary.errors import DataError, ShapeError

ACTION = np.random.default_rng(0).normal([0, 5, 2], [1, 2, 0], (50, 3))


def test_numbers_are_those_of_numpy_and_survive_the_disk(tmp_path):
    spec = ActionSpec.of(ACTION, ("x", "y", "grip"), 20.0)
    np.testing.assert_allclose(spec.mean, ACTION.mean(0))
    np.testing.assert_allclose(spec.std[:2], ACTION.std(0)[:2])
    assert spec.std[2] == 1.0 and spec.low == tuple(ACTION.min(0)) and spec.high == tuple(ACTION.max(0))
    spec.save(tmp_path)
    assert ActionSpec.load(tmp_path) == spec


def test_other_actions_are_refused():
    spec = ActionSpec.of(ACTION)
    assert spec.names == ("a0", "a1", "a2")
    spec.check(ActionSpec.of(ACTION * 2))
    with pytest.raises(DataError, match="use data of the same robot"):
        spec.check(ActionSpec.of(ACTION[:, :2]))
    with pytest.raises(ShapeError, match="2 names were given"):
        ActionSpec.of(ACTION, ("x", "y"))
    with pytest.raises(ShapeError):
        ActionSpec.of(ACTION[:0])


@pytest.mark.parametrize("change", [{"low": [0, 0]}, {"std": [1, 0, 1]}, {"low": [99, 0, 0]}, {"mean": ["a"]}])
def test_damaged_specifications_are_explained(tmp_path, change):
    ActionSpec.of(ACTION).save(tmp_path)
    path = tmp_path / "actions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match="convert the data again"):
        ActionSpec.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="holds no action specification"):
        ActionSpec.load(tmp_path)
