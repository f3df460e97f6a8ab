"""DM Control's suite as Gymnasium environments: a thin path, so that one adapter serves both."""

from __future__ import annotations

import os
import sys
from typing import Any

import gymnasium
import numpy as np

from ..errors import ConfigError, suggest

PREFIX = "dm_control/"
ADVICE = "MuJoCo needs OpenGL without a display: install Mesa's EGL (Debian: libegl1) and set MUJOCO_GL=egl, or osmesa"


class Suite(gymnasium.Env[np.ndarray, np.ndarray]):
    """One task of the suite, drawn at `size` x `size` pixels from camera `camera`.

    name: `dm_control/<domain>-<task>`, e.g. `dm_control/reacher-easy`. The observation is the task's observations,
    flattened in their order.
    Raises:
        ConfigError: dm_control is not installed, or has no such task.
    """

    def __init__(self, name: str, size: int, camera: int = 0) -> None:
        choose_renderer()
        try:
            from dm_control import suite
        except ImportError as error:
            raise ConfigError(f"{name} needs dm_control ({error}): pip install 'armillary[envs]'") from error
        except rendering_errors() as error:
            raise ConfigError(f"{name} does not render off-screen ({error}); {ADVICE}") from error
        known = {f"{PREFIX}{domain}-{task}": (domain, task) for domain, task in suite.ALL_TASKS}
        if name not in known:
            raise ConfigError(f"dm_control has no task {name!r}; {suggest(name, known)}")
        domain, task = known[name]
        self.world = suite.load(domain, task, task_kwargs={"random": 0})
        self.size, self.camera = size, camera
        bounds = self.world.action_spec()
        low, high = (np.broadcast_to(x, bounds.shape).astype(np.float32) for x in (bounds.minimum, bounds.maximum))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float32)

    @property
    def physics(self) -> Any:
        """DM Control's physics: positions, velocities, the model."""
        return self.world.physics

    @property
    def model(self) -> Any:
        """MuJoCo's model, under the name that Gymnasium's environments give it."""
        return self.world.physics.model

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """A new episode; a seed makes it a function of the seed."""
        if seed is not None:
            self.world.task.random.seed(seed)
        return self._flat(self.world.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One control step; an episode that ends with discount 0 terminated, any other end is the time limit."""
        now = self.world.step(action)
        over = bool(now.last())
        terminated = over and now.discount == 0
        return self._flat(now.observation), float(now.reward or 0), terminated, over and not terminated, {}

    def render(self) -> np.ndarray:
        """The image [size, size, 3] uint8."""
        return self.physics.render(self.size, self.size, camera_id=self.camera)

    def close(self) -> None:
        """Free the physics and its renderer."""
        self.physics.free()

    @staticmethod
    def _flat(observation: dict[str, Any]) -> np.ndarray:
        return np.concatenate([np.ravel(x) for x in observation.values()]).astype(np.float32)


def rendering_errors() -> tuple[type[Exception], ...]:
    """What MuJoCo and the layers below it raise where OpenGL is missing or has no off-screen context."""
    mujoco = sys.modules.get("mujoco")
    return (ImportError, AttributeError, RuntimeError, *([mujoco.FatalError] if mujoco else []))


def choose_renderer() -> None:
    """Let MuJoCo render without a display, through EGL, unless the user chose or a display is there.

    MuJoCo reads the variable when it is first imported; only the process's own environment is changed.
    """
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def plain_rendering(model: Any) -> None:
    """Switch off shadows, reflections and multisampling in a MuJoCo model, before its first image.

    Software rendering of 64 x 64 pixels becomes about ten times faster; images differ from published benchmarks.
    """
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0
    model.vis.quality.shadowsize = 1
    model.vis.quality.offsamples = 0
