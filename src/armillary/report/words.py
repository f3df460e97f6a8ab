"""Numbers, names and durations in the words of a report."""

from __future__ import annotations

import math
import re

NONE = "–"
UNITS = ("share", "r2", "error")  # a proportion; a coefficient of determination; an error over another error

NAMES = {
    "linear": "Linear probe",
    "knn": "Nearest neighbors",
    "attentive": "Attentive probe",
    "clinical": "Clinical probe",
    "r2": "R²",
    "rankme": "RankMe",
    "copy_ratio": "Error over copy-last",
    "cpu": "CPU",
    "gpu": "GPU",
    "memory_gib": "Memory, GiB",
    "cpu_seconds": "CPU time of training",
    "skipped": "Skipped steps",
    "sha256": "SHA-256 of the recipe",
    "other_room": "Through the door",
}


def named(name: str) -> str:
    """A key such as `same_room` as words: "Same room"."""
    words = re.sub(r"[_\s]+", " ", name).strip().replace(".", ", ")
    return NAMES.get(name, words[:1].upper() + words[1:])


def figure(value: float | None, unit: str = "error") -> str:
    """A share as a percentage, an R² or error with three decimals, more of them where those are all 0 or 9."""
    if value is None:
        return NONE
    if unit != "share" and abs(value) >= 1000:
        return compact(value)
    if unit == "share":
        return f"{100 * value:.1f}".removesuffix(".0").replace("-", "−") + " %"
    distance = min(abs(value), abs(1 - value)) or 1.0
    decimals = 3 if distance >= 0.001 else min(6, math.ceil(-math.log10(distance)) + 1)
    return f"{value:.{decimals}f}".replace("-", "−")


def interval(ends: tuple[float, float] | None, unit: str = "error") -> str:
    """An interval as "low to high"; nothing if there is none."""
    if ends is None:
        return ""
    low, high = (figure(end, unit) for end in ends)
    return f"{low.removesuffix(' %')} to {high}"


def count(value: float | None) -> str:
    """A whole number with commas."""
    return NONE if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """A number with three significant digits: 0.0123, 4.5, 12,300."""
    if value is None:
        return NONE
    if value and not 1e-3 <= abs(value) < 1e5:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def parameters(value: float | None) -> str:
    """A number of weights: 0.44 million, 12,300."""
    if value is None or value < 1e5:
        return count(value)
    return f"{value / 1e6:.2f} million" if value < 1e7 else f"{value / 1e6:.0f} million"


def duration(seconds: float | None) -> str:
    """Seconds in the unit a reader would choose: 0.25 s, 42 s, 7 min 32 s, 3 h 05 min."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def listed(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def said(value: object) -> str:
    """Any value of JSON as a reader writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return ", ".join(map(said, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(part)}" for name, part in value.items()) or "none"
    return str(value)


def sentence(words: str) -> str:
    """The words with a capital at the front and a full stop at the end."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")
