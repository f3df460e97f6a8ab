"""The images of a comparison: what is trained on, what probes are fitted on, tuned on and scored on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..data.dataset import Dataset
from ..data.formats.images import ImageDataset, Images
from ..data.formats.source import Source
from ..errors import DataError
from ..probes.extract import selected
from ..randomness import numbered
from ..recipes.run import Json, Probe
from ..types import Batch

VALIDATION = 0.1  # share of the train images that tuning does not train on and is scored by
UNLABELED = ("unlabeled", "unlabelled", "unsup", "unsupervised", "extra")  # folders that are no class, in any case


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a data set; each keeps its identity."""

    whole: ImageDataset
    rows: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """Raw rows at these places of the part."""
        return self.whole.batch(self.rows[index])

    def prepare(self, batch: Batch) -> Batch:
        """As the whole data set prepares them."""
        return self.whole.prepare(batch)


@dataclass(frozen=True, eq=False)
class Splits:
    """Images of the train part, those among them with labels, and the test images.

    images: all of the train part. labeled: those with labels, and places: where they stand in `images`. test: labeled
    ones if there are labels. held: [n] True for the train images that tuning holds out. classes: names, none without
    labels.
    """

    config: Images
    images: ImageDataset
    labeled: ImageDataset
    places: Int64[Tensor, " m"]
    test: ImageDataset
    held: Bool[Tensor, " n"]
    classes: tuple[str, ...]

    @property
    def partly(self) -> bool:
        """Whether some of the train images have no label while others do."""
        return bool(self.classes) and len(self.labeled) < len(self.images)

    def trained_on(self, supervised: bool, tuning: bool) -> Dataset:
        """What a method is trained on: all train images, or those with labels; without the held-out ones in tuning."""
        whole = self.labeled if supervised else self.images
        held = self.held[self.places] if supervised else self.held
        return Part(whole, (~held).nonzero().flatten()) if tuning else whole

    def known(self, tuning: bool) -> Dataset:
        """What probes are fitted on."""
        return Part(self.labeled, (~self.held[self.places]).nonzero().flatten()) if tuning else self.labeled

    def asked(self, tuning: bool) -> Dataset:
        """What probes are scored on: the held-out train images in tuning, else the test images."""
        return Part(self.labeled, self.held[self.places].nonzero().flatten()) if tuning else self.test

    def judge(self, probe: Probe) -> str:
        """What learning rates are judged by on the held-out images: "label", else "mask", "" where there is neither."""
        return "label" if self.classes else "mask" if "segmentation" in probe.kinds else ""

    def fingerprint(self) -> Json:
        """What of the data decides a result, without saying where they are."""
        c = self.config
        return {
            "name": Path(c.path).resolve().name,
            "images": len(self.images),
            "labeled": len(self.labeled) if self.classes else 0,
            "test": len(self.test),
            "classes": len(self.classes),
            "size": c.size,
            "channels": c.channels,
            "mean": list(c.mean),
            "std": list(c.std),
        }


def open_splits(config: Images) -> Splits:
    """Open a folder of images, labeled, partly labeled or not labeled.

    Partly labeled: class folders beside loose images, or beside a folder called `unlabeled` (or the like).
    Raises:
        ConfigError, DataError: as `Images.open`; or the train images have labels and none of the test images has.
    """
    train = config.open("train")
    config = train.config  # with the statistics that were measured
    test = config.open("test")
    classes = _classes(train.source)
    labeled, keep = _labeled(train, classes)
    asked, _ = _labeled(test, classes)
    if len(labeled) and not len(asked):
        raise DataError(
            f"none of the {len(test)} test images of {config.path} has a label, but train images have: label some, or "
            "remove the test part, so that a tenth of the train images is held out instead"
        )
    if not classes or not len(labeled):
        classes, labeled, keep, asked = (), train, np.ones(len(train), bool), test
    images = train
    if classes and not keep.all():  # whatever folder they lie in, images without a class carry no label
        images = ImageDataset(config, Source(train.source.names, train.source.read))
    return Splits(config, images, labeled, torch.from_numpy(np.flatnonzero(keep)), asked, _held(keep), classes)


def _held(keep: Bool[np.ndarray, " n"]) -> Bool[Tensor, " n"]:
    """The train images that tuning holds out: a tenth, of partly labeled ones a tenth of either kind."""
    held = torch.zeros(len(keep), dtype=torch.bool)
    for part in (keep, ~keep):
        places = torch.from_numpy(np.flatnonzero(part))
        n = len(places)
        if n > 1:
            held[places[numbered(1).order("bench/validation", n)[0, : max(1, round(VALIDATION * n))]]] = True
    return held


def check(splits: Splits, probe: Probe) -> None:
    """Check, before anything is trained, that probes will be able to judge.

    Raises:
        DataError: all labels are of one class, fewer images are labeled than neighbors vote, or a further probe that is
            asked for lacks masks, labels of a class, or classes.
    """
    if len(splits.test) < 2 or len(splits.images) < 2:
        raise DataError(
            f"{splits.config.path} gives {len(splits.images)} train and {len(splits.test)} test images: at least 2 of "
            "each are needed"
        )
    if "segmentation" in probe.kinds and splits.labeled.source.mask is None:
        raise DataError("segmentation needs masks: set data.mask to a Parquet column or a folder inside data.path")
    if not splits.classes:
        return
    labels = splits.labeled.source.labels
    held = splits.held[splits.places].numpy()
    assert labels is not None
    fitted = labels[selected(len(labels), probe.train).numpy()]
    for part in (labels, labels[~held], fitted):
        if len(np.unique(part)) < 2:
            name = splits.classes[int(labels[0])]
            raise DataError(
                f"all {len(part)} labeled train images are of class {name!r}: a comparison by accuracy needs at least "
                "2 classes"
            )
    few = min(len(labels) - int(held.sum()), probe.train)
    if few < probe.neighbors:
        raise DataError(
            f"{few} labeled train images are fewer than the {probe.neighbors} neighbors that vote: lower "
            "--probe.neighbors or label more images"
        )
    _check_further(splits, probe, fitted)


def _check_further(splits: Splits, probe: Probe, fitted: Int64[np.ndarray, " n"]) -> None:
    """fitted: labels of the rows on which probes are fitted."""
    counts = np.bincount(fitted, minlength=len(splits.classes))
    most = max((shots for shots in probe.shots if shots >= 1), default=0)
    few = [f"{counts[k]} of {splits.classes[k]!r}" for k in np.flatnonzero((counts > 0) & (counts < most))]
    if "low_shot" in probe.kinds and few:
        raise DataError(
            f"{most:g} labeled images of each class are needed, there are {', '.join(few[:4])}: lower --probe.shots"
        )
    asked = splits.test.source.labels
    if "clinical" in probe.kinds and asked is not None:
        kinds = np.unique(asked[selected(len(asked), probe.test).numpy()])
        if len(kinds) < 2:
            raise DataError(f"all test images are of class {splits.classes[kinds[0]]!r}: clinical needs at least 2")


def _classes(source: Source) -> tuple[str, ...]:
    """Classes of the labels; of folders, which count also where other images lie loose beside them."""
    if source.classes and not any(name.lower() in UNLABELED for name in source.classes):
        return source.classes
    found = {name.split("/", 1)[0] for name in source.names if "/" in name}
    found = {name for name in found if name.lower() not in UNLABELED}
    return tuple(sorted(found)) if len(found) > 1 else ()


def _labeled(dataset: ImageDataset, classes: tuple[str, ...]) -> tuple[ImageDataset, Bool[np.ndarray, " n"]]:
    """The images that have one of `classes`, and which of all these are."""
    source, n = dataset.source, len(dataset)
    if not classes:
        return dataset, np.zeros(n, bool)
    if source.classes == classes:
        keep = np.full(n, source.labels is not None)
        return (dataset if keep.all() else ImageDataset(dataset.config, source.rows(keep))), keep
    place = {name: i for i, name in enumerate(classes)}
    label = np.array([place.get(name.split("/", 1)[0], -1) if "/" in name else -1 for name in source.names], np.int64)
    keep = label >= 0
    part = replace(source.rows(keep), labels=label[keep], classes=classes)
    return ImageDataset(dataset.config, part), keep
