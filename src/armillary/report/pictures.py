"""Planned episodes as pictures: one GIF for each, and one wide still of a whole run."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from ..errors import DataError
from . import plots, words
from .record import Film, read
from .style import LIGHT

SIDE = 256  # of an episode's picture in pixels: a frame of 64 pixels four times enlarged
MOST = 12  # episodes that a page shows
STEPS = 120  # frames that an episode shows; of longer ones every second, third, ...
BUDGET = 2_800_000  # bytes of all animations in a page, which take a third more there
PAUSE, HOLD = 60, 1600  # milliseconds that a frame stays, and the last one
GOAL, TRAIL, REACHED = (255, 255, 255), (255, 214, 143), (67, 197, 158)  # overlay colors, added to a film's palette
RING = 0.07  # of the image's width: radius of the ring around a goal; in Two Rooms how near counts as reached
NEAR = 0.06  # of the width: so near to the agent no trail is drawn
STRIP, STRIPS = 4, 2  # frames of a film strip, and strips, in the still
AFTER = 4  # frames after the goal was reached that a strip still shows
OVERLAY = 256 - 3  # their place in the palette


@dataclass(frozen=True)
class Episode:
    """One episode, ready to draw: palette indices [N, h, w], and where the agent and its goal are, in pixels."""

    frames: UInt8[np.ndarray, "N h w"]
    palette: bytes
    path: Float[np.ndarray, "N 2"] | None
    target: Float[np.ndarray, " 2"] | None
    first: int | None  # frame from which on the goal counts as reached


def episode(film: Film, i: int, steps: int = STEPS) -> Episode:
    """Episode i of a film, thinned to at most `steps` frames, the last one always among them."""
    stride = -(-film.frames.shape[1] // steps)
    kept = np.arange(film.frames.shape[1])[::-1][::stride][::-1]
    frames, palette = _indexed(_reduced(film.frames[i, kept]))
    scale = frames.shape[1] / film.frames.shape[2]
    path = None if film.path is None else film.path[i, kept] * scale
    target = None if film.target is None else film.target[i] * scale
    first = _reached(film, i)
    return Episode(frames, palette, path, target, None if first is None else int((kept < first).sum()))


def animations(film: Film) -> list[tuple[Episode, bytes]]:
    """The first episodes with their GIFs; fewer frames, and at last fewer episodes, where they would be too large."""
    count = min(MOST, len(film.frames))
    share = BUDGET / (count * len(gif(episode(film, 0))))
    steps = STEPS if share >= 1 else max(8, int(min(STEPS, film.frames.shape[1]) * share))
    found: list[tuple[Episode, bytes]] = []
    for i in range(count):
        shown = episode(film, i, steps)
        found.append((shown, gif(shown)))
        if sum(len(animation) for _, animation in found) > BUDGET:
            return found[:-1] or found
    return found


def gif(shown: Episode) -> bytes:
    """The episode as an animation that repeats: the goal as a ring, the trail behind the agent, a frame on success."""
    frames = [picture(shown, step) for step in range(len(shown.frames))]
    pauses = [PAUSE] * (len(frames) - 1) + [HOLD]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=pauses, loop=0, optimize=False)
    return file.getvalue()


def picture(shown: Episode, step: int) -> Image.Image:
    """One frame, enlarged by a whole number to about `SIDE` pixels, with what is drawn on it."""
    height, width = shown.frames.shape[1:]
    scale = max(1, SIDE // max(height, width))
    image = Image.fromarray(shown.frames[step].repeat(scale, 0).repeat(scale, 1), "P")
    image.putpalette(shown.palette)
    draw = ImageDraw.Draw(image)
    reached = shown.first is not None and step >= shown.first
    if shown.path is not None and shown.target is not None:
        x, y = shown.target * scale
        radius, line = RING * image.width, max(2, scale // 2)
        color = OVERLAY + (2 if reached else 0)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=line)
        agent = shown.path[step] * scale
        for x, y in shown.path[:step] * scale:
            if max(abs(x - agent[0]), abs(y - agent[1])) > NEAR * image.width:
                draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=OVERLAY + 1)
    if reached:
        draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=OVERLAY + 2, width=max(3, scale))
    return image


def still(folder: Path, path: Path | None = None) -> Path:
    """Write one wide PNG of a run, for a README: planned episodes as film strips, and what was measured as charts.

    path: `report.png` in the folder unless told otherwise.
    Raises:
        DataError: the folder is not that of a run, or holds neither episodes nor curves.
        OSError: `path` cannot be written; what was there before stays.
    """
    record, path = read(folder), path or folder / "report.png"
    energy = plots.training(record)[:1]
    charts = [*energy, *filter(None, (plots.rollout(record) or plots.spectrum(record),))][:2]
    rows = [] if record.film is None else _rows(record.film)
    if not charts and not rows:
        raise DataError(f"{folder} holds neither curves nor episodes to draw; train and measure the run first")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with plots.settings():
            FigureCanvasAgg(_wide(rows, charts)).print_png(partial, metadata={"Software": None})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _rows(film: Film) -> list[tuple[str, list[Image.Image]]]:
    """Film strips with their titles: for each kind of goal the episode that took longest to reach it."""
    reached = np.ones(len(film.task), dtype=bool) if film.success is None else film.success
    order = sorted(range(len(film.task)), key=lambda i: (reached[i], film.first[i]), reverse=True)
    chosen: dict[str, int] = {}
    for i in order:
        chosen.setdefault(film.task[i], i)
    found = []
    for i in sorted(chosen.values())[:STRIPS]:
        one = episode(film, i)
        end = min(len(one.frames) - 1, one.first + AFTER) if one.first is not None else len(one.frames) - 1
        steps = np.linspace(0, end, STRIP).round().astype(int)
        outcome = "goal reached" if one.first is not None else "goal not reached"
        title = f"{words.named(film.task[i]) or 'Planned episode'}: {outcome}"
        found.append((title, [picture(one, int(step)).convert("RGB") for step in steps]))
    return found


def png(image: Image.Image) -> bytes:
    """The picture as PNG."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """The picture inside its own address, so that a page needs no other file. kind: "gif" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An image as a PNG of at most 96 pixels or its own size."""
    small = Image.fromarray(image)
    small.thumbnail((96, 96))
    return png(small)


def _reached(film: Film, i: int) -> int | None:
    """The step at which the goal was reached; where only success is known, the step nearest to the goal."""
    if film.success is None or not film.success[i]:
        return None
    if film.first[i] >= 0:
        return int(film.first[i])
    if film.path is None or film.target is None:
        return film.frames.shape[1] - 1
    return int(np.linalg.norm(film.path[i] - film.target[i], axis=1).argmin())


def _reduced(frames: UInt8[np.ndarray, "N h w 3"]) -> UInt8[np.ndarray, "N h2 w2 3"]:
    """Frames larger than `SIDE`, averaged over whole blocks of pixels."""
    factor = -(-max(frames.shape[1:3]) // SIDE)
    if factor == 1:
        return frames
    steps, height, width = len(frames), frames.shape[1] // factor, frames.shape[2] // factor
    cut = frames[:, : height * factor, : width * factor]
    return cut.reshape(steps, height, factor, width, factor, 3).mean((2, 4)).astype(np.uint8)


def _indexed(frames: UInt8[np.ndarray, "N h w 3"]) -> tuple[UInt8[np.ndarray, "N h w"], bytes]:
    """Frames as indices into one palette whose last entries are the overlay's colors."""
    tall = Image.fromarray(frames.reshape(-1, frames.shape[2], 3))
    indexed = tall.quantize(OVERLAY, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colors = bytes(indexed.getpalette() or [])[: 3 * OVERLAY].ljust(3 * OVERLAY, b"\0")
    return np.asarray(indexed).reshape(frames.shape[:3]), colors + bytes(v for c in (GOAL, TRAIL, REACHED) for v in c)


def _wide(rows: list[tuple[str, list[Image.Image]]], charts: list[plots.Chart]) -> Figure:
    """Film strips on the left, pixel by pixel, charts on the right."""
    gap, head, edge, side = 12, 44, 40, 480
    strip = STRIP * SIDE + (STRIP - 1) * gap if rows else 0
    width = edge + strip + (70 if rows and charts else 0) + (side if charts else 0) + edge
    height = edge + 2 * (head + SIDE) + gap
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=LIGHT.paper)
    for r, (title, images) in enumerate(rows):
        top = gap + r * (head + SIDE + gap) + head
        figure.text(edge / width, 1 - (top - 14) / height, title, color=LIGHT.ink, fontsize=13, fontweight="bold")
        for column, image in enumerate(images):
            place = edge + column * (SIDE + gap), height - top - image.height
            figure.figimage(np.asarray(image), *place, origin="upper")
    for r, chart in enumerate(charts):
        top, left = gap + r * (head + SIDE + gap) + head, width - edge - side
        figure.text(left / width, 1 - (top - 14) / height, chart.title, color=LIGHT.ink, fontsize=13, fontweight="bold")
        right = 135 if chart.labels else 10
        bounds = (left + 48, height - top - SIDE + 40, side - 48 - right, SIDE - 50)
        axes = figure.add_axes(
            (bounds[0] / width, bounds[1] / height, bounds[2] / width, bounds[3] / height),
        )
        plots.style(axes, LIGHT)
        chart.draw(axes, LIGHT)
    return figure
