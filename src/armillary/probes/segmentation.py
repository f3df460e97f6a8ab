"""Segmentation: the class of every pixel by a linear map of patch tokens."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError
from ..randomness import Random, numbered
from .extract import Features
from .linear import fit, held_out, logits, ordered, search, standardized
from .report import Report, Statistic, check, resampled

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
PIXELS = 1 << 24  # logits of pixels that are held in memory at a time


def segmentation(
    train: Features,
    test: Features,
    ignore: int = 255,
    patches: int = 20_000,
    strengths: tuple[float, ...] = STRENGTHS,
    iterations: int = 100,
    seed: int = 0,
    cells: int = 1,
) -> Report:
    """Mean IoU of a linear classifier of tokens [n, N, D] whose logits are enlarged bilinearly to the masks [n, h, w].

    It is fitted by L-BFGS to the share of each class in the part of the mask that a token covers, as `linear`; pixels
    whose class is `ignore` count nowhere. The strength is chosen by mean IoU on a tenth of the train images. IoU of a
    class is over all pixels of all test images; the mean is over the classes that occur in mask or answer. Intervals
    resample images (their groups), each class that a resample lacks left out of its mean.

    Args:
        patches: tokens that are fitted, at most, drawn at random.
        cells: parts of a token each way, each with a linear map of its own: what is smaller than a token needs them.
    Returns:
        details: iou by class (None where it does not occur), pixel_accuracy, with two classes foreground_iou; with
        NAME_interval of each.
    Raises:
        ConfigError: no patches or cells, more cells than a token has pixels, or settings that `linear` refuses.
        ShapeError: tokens were not kept, or fill no grid.
        DataError: targets are no masks, one class only, fewer than 2 images, NaN.
    """
    begun, strengths = time.perf_counter(), ordered(strengths)
    if min(patches, cells) < 1:
        raise ConfigError(f"patches is {patches}, cells {cells}: give at least 1")
    rows, columns, order = _grid(train, test)
    classes = _classes(train, test, ignore)
    flat, asked = standardized(train.x[:, order].flatten(0, 1), test.x[:, order].flatten(0, 1))
    x, held = flat.unflatten(0, train.x.shape[:2]), held_out(len(train.x), seed)
    shares = cell_shares(train.y, rows, columns, cells, classes, ignore)

    def fitted(images: Tensor, start: Tensor, strength: float) -> Tensor:
        some, share = x[images].flatten(0, 1), shares[images].flatten(0, 1)
        known = share.sum((1, 2)).nonzero()[:, 0]  # share: [tokens, cells * cells, K]
        if not bool((share.sum((0, 2)) > 0).all()):
            raise DataError(f"every pixel of the fitted images is {ignore}, which is ignored: give more labeled images")
        known = known[numbered(1, seed).order("patches", len(known))[0, :patches]]
        by_cell = zip(share[known].unbind(1), start.split(classes), strict=True)
        return torch.cat([fit(some[known], part, first, strength, iterations) for part, first in by_cell])

    def counted(tokens: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        maps = logits(tokens, weight).view(len(y), rows, columns, cells, cells, classes).permute(0, 5, 1, 3, 2, 4)
        return confusions(maps.flatten(4, 5).flatten(2, 3), y, ignore)

    chosen, start, tried = search(
        strengths,
        flat.new_zeros(cells * cells * classes, flat.shape[1] + 1),
        lambda weight, strength: fitted(~held, weight, strength),
        lambda weight: float(_figures(counted(x[held].flatten(0, 1), train.y[held], weight).sum(0))[0].nan_to_num(0.0)),
    )
    matrix = counted(asked, test.y, fitted(torch.ones_like(held), start, chosen))
    settings = {"strength": chosen, "validation": tried, "patches": patches, "ignore": ignore, "cells": cells,
                "iterations": iterations, "seed": seed}  # fmt: skip
    return _report(matrix, int(shares.sum((0, 1, 2)).argmax()), train, test, settings, begun)


def cell_shares(
    mask: Int[Tensor, "n h w"], rows: int, columns: int, cells: int, classes: int, ignore: int
) -> Float[Tensor, "n N C K"]:
    """How much of each of the `cells` x `cells` parts of each token each class fills.

    Raises:
        ConfigError: masks have fewer pixels than there would be parts.
    """
    if rows * cells > mask.shape[1] or columns * cells > mask.shape[2]:
        raise ConfigError(
            f"{cells} cells in each of {rows}x{columns} tokens are more than the {tuple(mask.shape[1:])} pixels of "
            "masks: use fewer (probe.cells)"
        )
    shares = patch_shares(mask, rows * cells, columns * cells, classes, ignore)
    shares = shares.view(len(mask), rows, cells, columns, cells, classes)
    return shares.transpose(2, 3).flatten(1, 2).flatten(2, 3)


def patch_shares(
    mask: Int[Tensor, "n h w"], rows: int, columns: int, classes: int, ignore: int
) -> Float[Tensor, "n N K"]:
    """How much of each cell of a grid over the mask each class fills; what is ignored fills nothing."""
    height, width = mask.shape[1:]
    down = torch.arange(height) * rows // height
    across = torch.arange(width) * columns // width
    cell = (down[:, None] * columns + across) * classes  # [h, w]
    out = []
    for part in mask.split(max(1, PIXELS // (height * width))):
        place = cell + part.long() + torch.arange(len(part))[:, None, None] * (rows * columns * classes)
        out.append(place[part != ignore].bincount(minlength=len(part) * rows * columns * classes))
    counts = torch.cat(out).view(len(mask), rows * columns, classes)
    pixels = (cell // classes).flatten().bincount(minlength=rows * columns)
    return counts.float() / pixels[:, None].clamp_min(1)


def confusions(maps: Float[Tensor, "n K r c"], mask: Int[Tensor, "n h w"], ignore: int) -> Int64[Tensor, "n K K"]:
    """Pixels of each class (row) that each class was answered for (column), in each image, at the mask's resolution."""
    classes, (height, width) = maps.shape[1], mask.shape[1:]
    out = []
    size = max(1, PIXELS // (classes * height * width))
    for part, truth in zip(maps.split(size), mask.split(size), strict=True):
        answer = F.interpolate(part, (height, width), mode="bilinear", align_corners=False).argmax(1)
        place = (torch.arange(len(part))[:, None, None] * classes + truth.long()) * classes + answer
        out.append(place[truth != ignore].bincount(minlength=len(part) * classes**2))
    return torch.cat(out).view(len(mask), classes, classes)


def _figures(matrix: Float[Tensor, "K K"] | Int64[Tensor, "K K"]) -> Float[Tensor, " M"]:
    """Mean IoU, pixel accuracy, IoU of each class (NaN where it occurs neither in mask nor in answer)."""
    matrix = matrix.double()
    both = matrix.diagonal()
    iou = both / (matrix.sum(0) + matrix.sum(1) - both)
    return torch.cat([iou.nanmean()[None], (both.sum() / matrix.sum())[None], iou])


def _statistic(matrix: Int64[Tensor, "n K K"]) -> Callable[[Tensor, Random], Tensor]:
    flat, shape = matrix.double().flatten(1), matrix.shape[1:]
    return lambda weight, random: _figures((weight @ flat).view(shape))


def _report(
    matrix: Int64[Tensor, "n K K"], common: int, train: Features, test: Features, settings: dict, begun: float
) -> Report:
    """The report of confusions in each test image; chance is answering the most `common` class everywhere."""
    whole = matrix.sum(0)
    values, statistic = _figures(whole), Statistic(_statistic(matrix))
    ends = resampled(statistic.of, test.group, seed=settings["seed"])
    score, accuracy, *iou = values.tolist()
    interval, accuracy_interval, *iou_interval = ends.tolist()
    iou, shown = ([v if known else None for v, known in zip(part, values[2:] >= 0, strict=True)]
                  for part in (iou, iou_interval))  # fmt: skip
    details = {"iou": iou, "iou_interval": shown, "pixel_accuracy": accuracy,
               "pixel_accuracy_interval": accuracy_interval}  # fmt: skip
    if len(iou) == 2:
        details |= {"foreground_iou": iou[1], "foreground_iou_interval": shown[1]}
    constant = torch.zeros_like(whole)
    constant[:, common] = whole.sum(1)
    rows = torch.stack([_figures(one)[0] for one in matrix]).nan_to_num(0.0)
    return Report(
        "segmentation", score, (interval[0], interval[1]), float(_figures(constant)[0]), settings, len(train.x),
        len(test.x), time.perf_counter() - begun, rows, test.index, test.group, details, "mean IoU", statistic,
    )  # fmt: skip


def _grid(train: Features, test: Features) -> tuple[int, int, Int64[Tensor, " N"]]:
    """Rows and columns of the grid that the tokens fill, and their places in raster order."""
    check(train, test, tokens=True)
    if train.pos is None or test.pos is None:
        raise ShapeError("these features do not say where their tokens are: extract them with pool=False")
    pos = train.pos[0]
    if pos.shape[1] != 2 or any(bool((part.pos != pos).any()) for part in (train, test)):
        raise ShapeError(
            f"tokens have {pos.shape[1]} coordinates: all images need tokens on one grid of rows and columns"
        )
    (rows, down), (columns, across) = (pos[:, axis].unique(return_inverse=True) for axis in (0, 1))
    key = down * len(columns) + across
    if not torch.equal(key.sort().values, torch.arange(len(rows) * len(columns))):
        raise ShapeError(f"{len(pos)} tokens do not fill a grid of {len(rows)} x {len(columns)}: keep all patches")
    return len(rows), len(columns), key.argsort()


def _classes(train: Features, test: Features, ignore: int) -> int:
    """The number of classes in the masks, counted from 0, after a check that they are masks."""
    highest = 0
    for name, part in (("train", train), ("test", test)):
        if part.y.ndim != 3 or part.y.is_floating_point():
            raise DataError(f"{name} targets of shape {tuple(part.y.shape)} and {part.y.dtype} are no masks [n, h, w]")
        known = part.y[part.y != ignore]
        if not len(known):
            raise DataError(
                f"every pixel of the {name} masks is {ignore}, which is ignored: set `ignore` to another value"
            )
        if int(known.min()) < 0:
            raise DataError(f"a {name} mask holds {int(known.min())}: classes are counted from 0")
        if name == "train" and int(known.min()) == int(known.max()):
            raise DataError(
                f"all pixels of the train masks are of class {int(known[0])} or {ignore}, which is ignored: a probe "
                "needs at least 2 classes (of masks that hold 0 and 255, set data.foreground)"
            )
        highest = max(highest, int(known.max()))
    if len(train.x) < 2:
        raise DataError("1 train image leaves none to choose the strength on: give at least 2")
    return highest + 1
