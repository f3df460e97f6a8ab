"""Runs that nothing disturbs, to compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from .worker import METHODS, finish


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> dict[str, Path]:
    """The folder of an undisturbed run of each method."""
    folders = {name: tmp_path_factory.mktemp("whole") / name for name in METHODS}
    for name, folder in folders.items():
        assert finish(folder, name) == 0
    return folders
