"""Whether a representation is alive: measures, a radar that names failures, and a verdict in plain language."""

from __future__ import annotations

from .health import examine
from .monitor import Monitor
from .radar import Alarm, Radar
from .reading import Reading, read

__all__ = ["Alarm", "Monitor", "Radar", "Reading", "examine", "read"]
