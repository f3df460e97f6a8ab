"""Where goals come from: tasks that a world draws, states some steps ahead in held-out episodes, a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from ..data.episodes import EpisodeDataset
from ..envs.tasks import Tasks, World
from ..errors import ConfigError, DataError
from ..randomness import numbered
from .worlds import layout_of

DRAWN = "tasks that the world draws"
Read = Callable[[UInt8[Tensor, "n C h w"]], Tensor]


@dataclass(frozen=True)
class Source:
    """Where goals come from: names of their kinds, in words, and the tasks of a kind."""

    kinds: tuple[str, ...]
    said: str
    tasks: Callable[[str], Tasks]


def check(dataset: EpisodeDataset, steps: int, path: Path | None) -> None:
    """Refuse goals `steps` ahead, where that is not 0, or in a file, if a data set or the disk cannot give them.

    Raises:
        DataError: it says why.
    """
    if steps:
        _long(dataset, steps)
    if path is not None and not path.is_file():
        raise DataError(f"there is no file {path}; give an image, or a .npy of images or states")


def source(
    dataset: EpisodeDataset, world: World, count: int, seed: int, steps: int, path: Path | None, read: Read | None
) -> Source:
    """Goals `steps` ahead in a data set, in a file, or those that the world draws, where neither is given."""
    if steps:
        said = f"{steps} raw steps ahead in {len(dataset.episodes)} held-out episodes"
        return Source((f"ahead_{steps}",), said, lambda _: ahead(dataset, world, count, seed, steps))
    if path is not None:
        said = f"the file {path.name}, from where episodes of the world begin"
        return Source(("given",), said, lambda _: given(path, world, count, seed, read))
    return Source(world.kinds, DRAWN, lambda kind: world.tasks(kind, count, seed))


def ahead(dataset: EpisodeDataset, world: World, count: int, seed: int, steps: int) -> Tasks:
    """Tasks from a data set: start at a recorded state, reach the one `steps` raw steps later in the same episode.

    Episodes of the split and places in them are drawn with repetition; task i depends on (seed, i) alone.
    Raises:
        ConfigError: steps below 1. DataError: no states, no episode is long enough, or it is unknown where walls stood.
    """
    long = _long(dataset, steps)
    random = numbered(count, seed)
    chosen = long[random.integers("goals/ahead/episode", len(long), 1)[:, 0].numpy()]
    room = torch.from_numpy(dataset.index.lengths[chosen] - steps)
    place = (random.uniform("goals/ahead/place", 1)[:, 0].double() * room).long().numpy()
    first = dataset.index.offsets[chosen] + place
    start, goal = (torch.from_numpy(dataset.columns["state"][rows]).float() for rows in (first, first + steps))
    image = torch.from_numpy(dataset.columns["image"][first + steps])
    return Tasks(start, goal, image, _layout(dataset, world, first))


def _long(dataset: EpisodeDataset, steps: int) -> np.ndarray:
    """Numbers of the episodes that are long enough."""
    if steps < 1:
        raise ConfigError(f"goals {steps} steps ahead; give 1 or more")
    if "state" not in dataset.columns:
        raise DataError("these episodes tell no state, so a world cannot begin where they did; collect them with one")
    lengths = dataset.index.lengths[dataset.episodes]
    if not (lengths > steps).any():
        raise DataError(
            f"no held-out episode is longer than {steps} steps, the longest has {lengths.max() - 1} actions"
        )
    return dataset.episodes[lengths > steps]


def _layout(dataset: EpisodeDataset, world: World, rows: np.ndarray) -> Tensor:
    """The layouts of recorded frames, or the one that all episodes of this world have."""
    if "layout" in dataset.columns:
        return torch.from_numpy(dataset.columns["layout"][rows]).float()
    found = [layout_of(world.reset(seed)) for seed in (0, 1)]
    if found[0] is None or found[1] is None:
        return torch.zeros(len(rows), 0)
    every = torch.cat([part for part in found if part is not None])
    if not bool((every == every[:1]).all()):
        raise DataError(
            "these episodes do not tell where their walls stood (they were collected by an earlier version): collect "
            "anew with `armillary collect RECIPE --fresh`, or plan to the world's own tasks"
        )
    return every[:1].expand(len(rows), -1)


def given(path: Path, world: World, count: int, seed: int, read: Read | None = None) -> Tasks:
    """Tasks to the goals in a file, each from where the world begins an episode; goal i is the file's i-th, in turn.

    path: an image; or a .npy of images, uint8 [C, h, w], [h, w, C] or several of them, or of states, float [S] or
        [n, S], whose images the world draws.
    read: reads the state in images, by which success is judged where the file holds images; None: only states.
    Raises:
        DataError: the file is none of these, or does not fit the world. ConfigError: images without `read`.
    """
    first = world.reset(seed)
    layout = layout_of(first)
    layout = torch.zeros(world.count, 0) if layout is None else layout
    held = loaded(path, tuple(first["image"].shape[1:]))
    turn = torch.arange(count) % len(held)
    if held.dtype == torch.uint8:
        if read is None:
            raise ConfigError("goals as images need a probe that reads the state in them, to judge success by")
        return Tasks(first["state"][:count], read(held)[turn], held[turn], layout[:count])
    if held.shape[1] != first["state"].shape[1]:
        raise DataError(f"{path} holds states of {held.shape[1]} numbers, the world's have {first['state'].shape[1]}")
    goal = held[turn]
    blank = torch.zeros_like(first["image"][:count])
    drawn = world.begin(Tasks(goal, goal, blank, layout[:count]))
    return Tasks(first["state"][:count], drawn["state"], drawn["image"], layout[:count])


def loaded(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Images uint8 [n, C, h, w] of the given shape, or states float32 [n, S].

    Raises:
        DataError: the file is missing, or holds neither.
    """
    try:
        array = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _picture(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); give an image, or a .npy of images or states") from None
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        image = torch.from_numpy(np.array(array if array.ndim == 4 else array[None]))
        if image.shape[1] != shape[0] and image.shape[-1] == shape[0]:
            image = image.movedim(-1, 1)
        if image.shape[1] != shape[0] or not len(image):
            raise DataError(f"{path} holds images {array.shape}; the world's have {shape[0]} channels")
        if tuple(image.shape[1:]) == shape:
            return image.contiguous()
        smaller = F.interpolate(image.float(), shape[1:], mode="bilinear", antialias=True)
        return smaller.add(0.5).clamp(0, 255).to(torch.uint8)
    if np.issubdtype(array.dtype, np.floating) and array.ndim in (1, 2) and array.size and np.isfinite(array).all():
        return torch.from_numpy(np.atleast_2d(array)).float()
    raise DataError(
        f"{path} holds {array.dtype} {array.shape}; give images, uint8 [n, C, h, w], or finite states [n, S]"
    )


def _picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
