"""The command line: names the verbs and imports each one's file only when it is called."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from . import __version__, catalogue
from .errors import CheckpointError, CollapseError, ConfigError, DataError, ShapeError, suggest

MISTAKES = (CheckpointError, CollapseError, ConfigError, DataError, ShapeError)
WRONG, INTERRUPTED, TERMINATED, CLOSED = 2, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGPIPE
SPACE = "free some space (`armillary doctor` shows how much there is) and continue an unfinished run with --resume"
ACCESS = "use a folder that you may read and write, e.g. with --out"
NAME = "check the path"
ADVICE = dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR), NAME)
ADVICE |= dict.fromkeys((errno.ENOSPC, errno.EDQUOT), SPACE)
ADVICE |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ACCESS)


class Terminated(BaseException):
    """SIGTERM came; what is open is closed and half-written files are removed on the way out."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Returns its exit status: 2 for a mistake, 130 for Ctrl-C, 143 for SIGTERM."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    told = "--traceback" in given or os.environ.get("ARMILLARY_TRACEBACK", "0") not in ("", "0")
    given = [word for word in given if word != "--traceback"]
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait for work go to sleep soon. Where other programs share the cores, spinning threads take the
        # time of those that work: 40 small steps with two threads took 32 s instead of 5 s beside a load of four.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        with _terminable():
            return _call(given)
    except KeyboardInterrupt:
        return _failed("interrupted", told, INTERRUPTED)
    except Terminated:
        return _failed("stopped by SIGTERM", told, TERMINATED)
    except BrokenPipeError:  # `armillary list | head`: nobody reads on, and the interpreter must not try to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except MISTAKES as error:
        return _failed(str(error), told, WRONG)
    except OSError as error:
        parts = [error.strerror or str(error), str(error.filename or "")]
        advice = ADVICE.get(error.errno or 0, "")
        return _failed(": ".join(filter(None, parts)) + (f"; {advice}" if advice else ""), told, WRONG)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated`; training, which saves first, notes it in its own way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _call(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        return _help()
    if given[0] == "--version":
        screen().say(f"armillary {__version__}")
        return 0
    verb, *rest = given
    if verb not in catalogue.VERBS:
        near = suggest(verb, catalogue.VERBS)
        raise ConfigError(f"there is no command {verb!r}: {near} (`armillary --help` shows all)")
    screen().show_warnings()
    return importlib.import_module(f".commands.{verb}", __package__).main(rest)


def _help() -> int:
    show = screen()
    show.say("armillary: joint-embedding predictive architectures and world models. Train, measure, plan.")
    show.table("", ["armillary ...", ""], [(verb, catalogue.verb_summary(verb)) for verb in catalogue.VERBS])
    show.say("`armillary VERB --help` shows a command's flags, `armillary train RECIPE --help` a recipe's fields.")
    show.say("--traceback (or ARMILLARY_TRACEBACK=1) shows where an error came from.", style="dim")
    return 0


def _failed(message: str, told: bool, status: int) -> int:
    if told:
        traceback.print_exc()
    screen().error(message)
    return status


def screen():
    """The screen, imported when something is shown."""
    return importlib.import_module(".commands.screen", __package__)
