"""What tests of pure functions share."""

from __future__ import annotations

import jaxtyping
import pytest


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are not checked, as when users run: the functions' own errors are what they get."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
