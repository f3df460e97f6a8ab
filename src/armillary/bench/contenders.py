"""Who takes part: small recipes by the name of their method, changed as the user says, fitted to the user's images."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from .. import catalogue
from ..errors import ConfigError, suggest
from ..nn.encoder import ViT
from ..recipes.run import Json, Probe, Run, restored
from ..views.pixels import PixelViews
from .splits import Splits

SMALL = "_cifar10"  # recipes of small images end so: ijepa_cifar10 is the contender `ijepa`
SHARED = ("data", "probe", "seed", "steps")  # fields of a run that a comparison sets
PIXELS, UNTRAINED = "pixels", "untrained"  # floors: the raw input, and each backbone as it was initialized
Find = Callable[[str], tuple[Run, str]]  # a recipe by its name, and the SHA-256 of its file if it is the user's own


@dataclass(frozen=True)
class Contender:
    """One line of a comparison.

    name: as the user wrote it, without the folder of an absolute path; run: its recipe, with these images; text: all
    that the user wrote.
    """

    name: str
    run: Run
    sha256: str = ""
    text: str = ""

    @property
    def method(self) -> str:
        """Name of the method."""
        return type(self.run.method).__module__.rpartition(".")[2]

    @property
    def supervised(self) -> bool:
        """Whether it is trained on labels."""
        return hasattr(self.run.method, "classes")

    @property
    def backbone(self) -> str:
        """Its encoder in a word."""
        return described(getattr(self.run.method, "encoder", None))


def everyone() -> tuple[str, ...]:
    """Names of all methods that have a recipe for small images."""
    return tuple(entry.name.removesuffix(SMALL) for entry in catalogue.recipes() if entry.name.endswith(SMALL))


def contender(text: str, find: Find, splits: Splits, probe: Probe) -> Contender:
    """The contender that `text` names: a method, a recipe, or path/to/file.py:function, then [field=value,...] or not.

    Raises:
        ConfigError: there is no such method, or a field or value that it does not have, or it takes no such images;
            or a field is set that is everyone's.
    """
    matched = re.fullmatch(r"([^\[\]]+)(?:\[(.*)\])?", text.strip(), re.DOTALL)
    if matched is None:
        raise ConfigError(f"{text!r} is no contender: write a name, or name[field=value,...]")
    run, sha256 = find(_recipe(matched[1].strip()))
    if matched[2]:
        run = restored(_tree(matched[2], text), run, text)
    place, whole = Path(matched[1].strip()), text.strip()
    short = place.name if place.is_absolute() else str(place).removesuffix(SMALL)
    return Contender(whole.replace(str(place), short, 1), fitted(run, splits, probe, text), sha256, whole)


def fitted(run: Run, splits: Splits, probe: Probe, name: str) -> Run:
    """The run on these images: data, sizes of image and views, channels, classes, and a patch that keeps the tokens.

    A patch of 4 at 32 pixels is one of 8 at 64; where that is no whole number, see `_patch`.
    Raises:
        ConfigError: the method has no image encoder, or one that cannot take this size.
    """
    data, method = splits.config, run.method
    network = getattr(method, "encoder", None)
    if not is_dataclass(network) or isinstance(network, type) or not hasattr(network, "image"):
        raise ConfigError(f"{name} has no encoder of images: it cannot be compared on them")
    changes: dict[str, Any] = {"image": data.size}
    larger = data.size / network.image  # type: ignore[attr-defined]
    if hasattr(network, "channels"):
        changes["channels"] = data.channels
    if isinstance(network, ViT):
        changes["patch"] = _patch(network, data.size)
    new: dict[str, Any] = {"encoder": replace(network, **changes), **_views(method, larger, changes.get("patch", 1))}
    if hasattr(method, "classes") and splits.classes:
        new["classes"] = len(splits.classes)
    return replace(run, method=replace(method, **new), data=data, probe=probe)


def _patch(network: ViT, size: int) -> int:
    """The patch that keeps the tokens; else the divisor of `size` that is nearest to it, up to a half more or less.

    Where there is none, the recipe's own is kept, which the encoder refuses in words.
    """
    exact = network.patch * size / network.image
    near = [patch for patch in range(1, size + 1) if size % patch == 0 and exact / 2 <= patch <= exact * 1.5]
    return min(near, key=lambda patch: abs(patch - exact), default=network.patch)


def _views(method: Any, larger: float, patch: int) -> dict[str, PixelViews]:
    """The method's pixel views of a size of their own, `larger` times their size, to a whole number of patches."""
    found = {}
    for part in dataclass_fields(method):
        view = getattr(method, part.name)
        if isinstance(view, PixelViews) and view.size:
            found[part.name] = replace(view, size=max(1, round(view.size * larger / patch)) * patch)
    return found


def described(network: object) -> str:
    """An encoder in a word: vit96x4/4 is 96 wide, 4 deep, patch 4; resnet18/16 has 18 layers, 16 base channels."""
    if isinstance(network, ViT):
        return f"vit{network.width}x{network.depth}/{network.patch}"
    if hasattr(network, "base") and hasattr(network, "blocks"):
        return f"resnet{2 * sum(network.blocks) + 2}/{network.base}"  # type: ignore[attr-defined]
    widths = getattr(network, "widths", ())
    return f"conv{'-'.join(map(str, widths))}" if widths else type(network).__name__.lower()


def chosen(names: Sequence[str], find: Find, splits: Splits, probe: Probe) -> tuple[list[Contender], list[str]]:
    """The contenders that were named (all where none is), and sentences about those that cannot take part.

    Raises:
        ConfigError: as `contender`; a name comes twice; or nobody is left.
    """
    texts = [text for text in names or everyone() if text not in (PIXELS, UNTRAINED)]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)} comes more than once in --methods")
    found, said = [], []
    for text in texts:
        one = contender(text, find, splits, probe)
        if any(one.name == other.name for other in found):
            raise ConfigError(f"{one.name} is the name of two files in --methods: give one of them another name")
        if one.supervised and not splits.classes:
            said.append(f"{one.name} needs labels and is left out")
        else:
            found.append(one)
    if not found:
        raise ConfigError(f"no method is left to compare ({'; '.join(said)}); known: {', '.join(everyone())}")
    return found, said


def _recipe(name: str) -> str:
    if ".py" in name:
        return name
    recipes = {entry.name for entry in catalogue.recipes()}
    if name + SMALL in recipes:
        return name + SMALL
    if name in recipes:
        return name
    raise ConfigError(
        f"there is no method {name!r} with a recipe for small images: {suggest(name, everyone())} (one of your own is "
        "named as path/to/file.py:function)"
    )


def _tree(text: str, source: str) -> Json:
    """`a.b=1,c=x` as a tree; commas inside brackets belong to values, which are JSON or else words."""
    tree: Json = {}
    for part in re.split(r",(?![^\[(]*[\])])", text):
        path, equals, value = part.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"{part!r} in {source} sets nothing: write field=value, e.g. optim.lr=0.001")
        *above, last = path.strip().split(".")
        if (above or [last])[0] in SHARED:
            raise ConfigError(f"{path.strip()} in {source} is the same for all: set it with a flag of bench images")
        branch: Any = tree
        for name in above:
            branch = branch.setdefault(name, {})
        branch[last] = _value(value.strip())
    return tree


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)
