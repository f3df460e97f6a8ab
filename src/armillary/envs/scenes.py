"""What the Gymnasium adapter must be told about an environment to know its truth and to set goals in it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Scene(Protocol):
    """The truth of one kind of environment, and how to put an environment into a given one.

    tolerance: success is a distance up to this. draws: how many uniform numbers `sample` takes; 0 where the truth
    cannot be set.
    """

    tolerance: float
    draws: int

    def prepare(self, env: Any) -> None:
        """Change what must look the same in every image, once, before the first one."""
        ...

    def truth(self, env: Any, observation: np.ndarray) -> np.ndarray:
        """The state [S] of an unwrapped environment that just returned `observation`."""
        ...

    def sample(self, uniform: np.ndarray) -> np.ndarray:
        """A state [S] that can be reached and restored, from `draws` numbers in [0, 1)."""
        ...

    def restore(self, env: Any, state: np.ndarray) -> np.ndarray:
        """Put an unwrapped environment that was reset into `state`; returns the whole truth there."""
        ...

    def distance(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Float[Tensor, " E"]:
        """How far each state is from its goal, in the unit of `tolerance`."""
        ...


class Vector:
    """Any environment: the truth is the observation vector, which cannot be set; distance is Euclidean in it."""

    draws = 0

    def __init__(self, tolerance: float = 0.1) -> None:
        self.tolerance = tolerance

    def prepare(self, env: Any) -> None:
        """Nothing to change."""

    def truth(self, env: Any, observation: np.ndarray) -> np.ndarray:
        """The observation, flat."""
        return np.ravel(observation)

    def sample(self, uniform: np.ndarray) -> np.ndarray:
        """No state can be set: no number is."""
        return uniform[:0]

    def restore(self, env: Any, state: np.ndarray) -> np.ndarray:
        """No state can be set: `state` as it is."""
        return state

    def distance(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Float[Tensor, " E"]:
        """Euclidean distance of observations."""
        return (state - goal).norm(dim=1)


class Pendulum:
    """Gymnasium's Pendulum-v1. State: cosine and sine of the angle (0 is up), speed in rad/s; distance: of angles."""

    draws = 1
    tolerance = 0.2  # radians

    def prepare(self, env: Any) -> None:
        """Nothing to change."""

    def truth(self, env: Any, observation: np.ndarray) -> np.ndarray:
        """From the simulator's angle and speed."""
        angle, speed = env.state
        return np.array([np.cos(angle), np.sin(angle), speed])

    def sample(self, uniform: np.ndarray) -> np.ndarray:
        """Any angle, at rest."""
        angle = 2 * np.pi * uniform[0]
        return np.array([np.cos(angle), np.sin(angle), 0.0])

    def restore(self, env: Any, state: np.ndarray) -> np.ndarray:
        """Set angle and speed."""
        env.state, env.last_u = np.array([np.arctan2(state[1], state[0]), state[2]], dtype=np.float64), None
        return self.truth(env, state)

    def distance(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Float[Tensor, " E"]:
        """The angle between the two, in radians."""
        cross = state[:, 0] * goal[:, 1] - state[:, 1] * goal[:, 0]
        return torch.atan2(cross, (state[:, :2] * goal[:, :2]).sum(1)).abs()


class Reacher:
    """DM Control's reacher. State: fingertip (x, y) in metres, cosine and sine of shoulder and wrist, their speeds.

    Distance is that of the fingertips; the tolerance is the radius of the target of `reacher-easy`. The target sphere
    is made invisible, since goals are images of the arm and not of a sphere.
    """

    draws = 2
    tolerance = 0.05  # metres; the arm is 0.24 long

    def prepare(self, env: Any) -> None:
        """Hide the target."""
        env.physics.named.model.geom_rgba["target", 3] = 0

    def truth(self, env: Any, observation: np.ndarray) -> np.ndarray:
        """From the simulator's joints and the place of the finger."""
        data = env.physics.data
        (shoulder, wrist), speed = data.qpos[:2], data.qvel[:2]
        finger = env.physics.named.data.geom_xpos["finger", :2]
        return np.array([*finger, np.cos(shoulder), np.sin(shoulder), np.cos(wrist), np.sin(wrist), *speed])

    def sample(self, uniform: np.ndarray) -> np.ndarray:
        """Any shoulder angle, any wrist angle within 2.7 rad, at rest; the fingertip follows when restored."""
        shoulder, wrist = 2 * np.pi * uniform[0], 2.7 * (2 * uniform[1] - 1)
        return np.array([0, 0, np.cos(shoulder), np.sin(shoulder), np.cos(wrist), np.sin(wrist), 0, 0])

    def restore(self, env: Any, state: np.ndarray) -> np.ndarray:
        """Set joints and speeds."""
        physics = env.physics
        with physics.reset_context():
            physics.data.qpos[:2] = np.arctan2(state[3], state[2]), np.arctan2(state[5], state[4])
            physics.data.qvel[:2] = state[6:8]
        return self.truth(env, state)

    def distance(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Float[Tensor, " E"]:
        """Between the fingertips, in metres."""
        return (state[:, :2] - goal[:, :2]).norm(dim=1)


def scene_of(name: str) -> Scene:
    """The scene that belongs to an environment's name: `Vector` where nothing else is known."""
    if name.startswith("dm_control/reacher-"):
        return Reacher()
    return Pendulum() if name.startswith("Pendulum-") else Vector()
