"""Flags from dataclasses: a verb's own fields, and a recipe's fields beside them without a prefix."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass, replace
from typing import Annotated, Generic, TypeVar

import tyro

from ..errors import ConfigError
from ..recipes.run import Run, concrete
from . import screen

Verb = TypeVar("Verb")
Own = TypeVar("Own")
Configured = TypeVar("Configured")

STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.AvoidSubcommands, tyro.conf.SuppressFixed)


@dataclass(frozen=True)
class Both(Generic[Own, Configured]):
    """A verb's own flags, of which a boolean is a switch, and a run's, of which each takes a value."""

    own: Annotated[Own, tyro.conf.arg(name="")]
    run: Annotated[Configured, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]


def first(arguments: list[str], verb: str, what: str, description: str) -> tuple[str, list[str]]:
    """The name that comes first, and the rest; `armillary VERB --help` alone explains the verb.

    Raises:
        ConfigError: a flag, or nothing, stands where the name belongs.
    """
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    usage = f"armillary {verb} {what} [flags]"
    if arguments[:1] in (["-h"], ["--help"]):
        screen.say(f"usage: {usage}\n\n{description} `armillary {verb} {what} --help` shows the flags.")
        raise SystemExit(0)
    raise ConfigError(f"name the {what} first: {usage}")


def parse(verb: type[Verb], arguments: list[str], name: str, description: str) -> Verb:
    """The verb's dataclass filled from the command line; a mistake is explained on stderr and exits with status 2."""
    return tyro.cli(verb, args=arguments, prog=f"armillary {name}", description=description, config=STYLE)


def parse_with_run(
    verb: Verb, run: Run, arguments: list[str], name: str, description: str, parts: tuple[str, ...] = ()
) -> tuple[Verb, Run]:
    """The same for a verb whose flags stand beside fields of `run`; both are defaults and come back changed.

    parts: names of the parts of the run that may be changed; all where none is named.
    """
    names = parts or tuple(field.name for field in fields(run))
    values = {name: getattr(run, name) for name in names}
    kind: object = concrete(run, nothing=Annotated[None, tyro.conf.Suppress])
    if parts:
        kind = make_dataclass("Parts", [(name, type(value)) for name, value in values.items()], frozen=True)
    default = Both(verb, kind(**values) if parts else run)  # type: ignore[operator]
    both = tyro.cli(
        Both[type(verb), kind], args=arguments, prog=f"armillary {name}", description=description, config=STYLE,
        default=default,
    )  # fmt: skip
    return both.own, replace(run, **{name: getattr(both.run, name) for name in names})


def value(arguments: list[str], flag: str) -> str:
    """What follows a flag that must be known before the others can be read; "" where it is not given."""
    joined = [word.partition("=")[2] for word in arguments if word.startswith(f"{flag}=")]
    if joined:
        return joined[-1]
    at = arguments.index(flag) + 1 if flag in arguments else len(arguments)
    return arguments[at] if at < len(arguments) else ""
