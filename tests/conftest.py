"""Shapes and types in signatures are checked while tests run; the places of fixtures and shared data."""

from __future__ import annotations

import os
from pathlib import Path

import beartype
import hypothesis
import pytest
from jaxtyping import install_import_hook

# Before anything imports the package. An int counts as a float, as for type checkers. The hook takes the name of a
# decorator, so the configured one gets a name where the hook finds it.
beartype.checked = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
install_import_hook("armillary", "beartype.checked")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout, which holds data that are not redistributed."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder `shared` beside the checkout")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the golden fixtures."""
    return Path(os.environ.get("ARMILLARY_GOLDEN", Path(__file__).parent / "golden"))


# Machines are shared: an example that takes long is not a failure.
hypothesis.settings.register_profile("armillary", deadline=None)
hypothesis.settings.load_profile("armillary")
