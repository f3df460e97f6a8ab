"""One Gymnasium environment, seen as a state and a small image."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from ..errors import ConfigError, suggest
from .scenes import Scene
from .suite import ADVICE, PREFIX, Suite, choose_renderer, plain_rendering, rendering_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sight:
    """state: [S] float32, the truth. image: [3, size, size] uint8."""

    state: Float[Tensor, " S"]
    image: UInt8[Tensor, "3 h w"]


@dataclass(frozen=True)
class Look:
    """How MuJoCo draws: pixels of the square frame, DM Control's camera, without shadows and reflections."""

    pixels: int
    camera: int
    plain: bool


class Single:
    """One environment; once it is over, or its truth is not finite, it stays as it was last seen.

    low, high: [A] bounds of an action.
    Raises:
        ConfigError: the environment is not there, does not render, or takes other than continuous, bounded actions.
    """

    def __init__(self, name: str, size: int, scene: Scene, look: Look) -> None:
        self.name, self.size, self.scene = name, size, scene
        self.env = Suite(name, look.pixels, look.camera) if name.startswith(PREFIX) else _make(name, look.pixels)
        space = _bounded(self.env.action_space, name)
        self.low, self.high = (torch.tensor(x, dtype=torch.float32) for x in (space.low, space.high))
        model = getattr(self.env.unwrapped, "model", None)
        if look.plain and hasattr(model, "light_castshadow"):
            plain_rendering(model)
        scene.prepare(self.env.unwrapped)
        self._image: Tensor | None = None
        self.reset(0)
        self.look()  # what cannot render fails here, not in the middle of a collection

    def reset(self, seed: int) -> None:
        """A new episode, a function of the seed."""
        observation, _ = self.env.reset(seed=seed)
        self.terminated = self.truncated = False
        self._keep(self.scene.truth(self.env.unwrapped, observation))

    def restore(self, state: np.ndarray) -> None:
        """A new episode from `state`, as the scene defines it."""
        self.env.reset(seed=0)
        self.terminated = self.truncated = False
        self._keep(self.scene.restore(self.env.unwrapped, state))

    def step(self, action: np.ndarray, repeat: int) -> float:
        """Take an action `repeat` times; returns the sum of rewards, 0 once the episode is over."""
        total = 0.0
        for _ in range(repeat):
            if self.terminated or self.truncated:
                break
            observation, reward, terminated, truncated, _ = self.env.step(action)
            truth = self.scene.truth(self.env.unwrapped, observation)
            if not (np.isfinite(truth).all() and math.isfinite(float(reward))):
                log.warning("%s gave a state or reward that is not finite; its episode ends here", self.name)
                self.terminated = self._drawn = True
                break
            total, self.terminated, self.truncated = total + float(reward), bool(terminated), bool(truncated)
            self._keep(truth)
        return total

    def look(self) -> Sight:
        """What is seen now; an image is drawn when it is first looked at."""
        if self._image is None or not self._drawn:
            self._image, self._drawn = self._draw(), True
        return Sight(self._state, self._image)

    def close(self) -> None:
        """Free the environment; MuJoCo complains at exit about renderers that were not."""
        self.env.close()

    def _keep(self, truth: np.ndarray) -> None:
        self._state: Tensor = torch.tensor(truth, dtype=torch.float32)
        self._drawn = False

    def _draw(self) -> UInt8[Tensor, "3 h w"]:
        frame = self._frame()
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ConfigError(
                f"{self.name} renders {type(frame).__name__}, not an RGB array [height, width, 3]; only environments "
                'that render off-screen with render_mode="rgb_array" can be used'
            )
        image = torch.from_numpy(np.ascontiguousarray(frame)).movedim(-1, 0)
        if image.shape[1:] == (self.size, self.size):
            return image.contiguous()
        small = F.interpolate(image[None].float(), size=(self.size, self.size), mode="area")[0]
        return small.add(0.5).to(torch.uint8)

    def _frame(self) -> object:
        try:
            return self.env.render()
        except rendering_errors() as error:
            raise ConfigError(f"{self.name} does not render off-screen ({error}); {ADVICE}") from error


def _make(name: str, pixels: int) -> gymnasium.Env:
    spec = gymnasium.registry.get(name)
    if spec is None and ":" not in name:
        raise ConfigError(f"Gymnasium has no environment {name!r}; {suggest(name, gymnasium.registry)}")
    mujoco = spec is not None and "mujoco" in str(spec.entry_point)
    if mujoco:
        choose_renderer()
    shape = {"width": pixels, "height": pixels} if mujoco else {}  # these render at any size, the others at their own
    try:
        return gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True, **shape)
    except (gymnasium.error.Error, *rendering_errors()) as error:
        raise ConfigError(
            f"{name} cannot be made: {error}; it needs its own package, for those of Gymnasium pip install "
            "'armillary[envs]', and must render off-screen"
        ) from error


def _bounded(space: gymnasium.Space, name: str) -> Box:
    if isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded() and (space.low < space.high).all():
        return space
    raise ConfigError(
        f"{name} takes actions {space}; the planners here search continuous, bounded ones, Box(low, high, (A,)): use "
        "such an environment (Pendulum-v1, dm_control/reacher-easy) or wrap this one to take them"
    )
