"""`armillary collect`: episodes of random actions in a recipe's world, into the folder of its data."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import ConfigError
from . import flags, screen, workspace, worlds
from .progress import Watch

ABOUT = "Collect episodes of smooth random actions in a recipe's world; they go to the recipe's data.path."


@dataclass(frozen=True)
class Collect:
    """Flags of `collect` itself."""

    episodes: int = 500
    """episodes"""
    length: int = 90
    """raw actions in an episode; it has one frame more"""
    collect_seed: int = 0
    """of starts and actions; another one gives other episodes"""
    fresh: bool = False
    """move a collection that is there aside, to PATH.1 or the next free number, and collect anew"""


def following(name: str, given: list[str]) -> str:
    """The command that trains on what was collected: with the same fields of the recipe, without the verb's own."""
    own = {f"--{field.name.replace('_', '-')}" for field in fields(Collect)}
    words, skip = [], False
    for word in given:
        flag = word.partition("=")[0].replace("_", "-")
        if word.startswith("--"):
            skip = flag in own
        if not skip:
            words.append(word)
    return shlex.join(["armillary", "train", name, *words])


def main(arguments: list[str]) -> int:
    """Collect episodes of random actions: armillary collect RECIPE [--episodes N] [fields]."""
    name, rest = flags.first(arguments, "collect", "RECIPE", ABOUT)
    asked, run = flags.parse_with_run(Collect(), workspace.find(name).run, rest, f"collect {name}", ABOUT)
    data, _ = worlds.of_world(run)
    if min(asked.episodes, asked.length) < 1:
        raise ConfigError(f"{asked.episodes} episodes of {asked.length} actions; both must be 1 or more")
    path = Path(data.path)
    if (path / "index.json").exists():
        if not asked.fresh:
            raise ConfigError(
                f"{path} holds episodes already: move them aside with --fresh, or give another folder with --data.path"
            )
        screen.say(f"the old episodes are now in {workspace.set_aside(path)}")
    with Watch("collecting episodes", asked.episodes, unit="episode") as watch:
        worlds.collect(run, asked.episodes, asked.length, asked.collect_seed, lambda _, done, __: watch.at(done))
    screen.say(f"{asked.episodes} episodes of {asked.length + 1} frames in {path}; next: {following(name, rest)}")
    return 0
