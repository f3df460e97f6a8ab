"""What is read off a representation at one step: named numbers and a spectrum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..types import Forecast, Tokens
from .forecasts import forecast_measures
from .moments import Moments
from .normality import normality
from .pairs import clumping, subsample, uniformity
from .rank import alpha_req, effective_rank, isotropy, participation_ratio, rankme_of
from .shares import place_share, within_share

USED = 0.01  # of the strongest direction's standard deviation: from here on a direction counts as used
BROKEN = "not finite: "  # begins a verdict of embeddings that hold NaN or infinity
MEANING = {
    "rows": "embeddings that were read",
    "dimensions": "their width",
    "directions": "principal directions with 1 % of the strongest one's standard deviation or more",
    "participation": "participation ratio of the covariance",
    "effective_rank": "exponential of the entropy of the principal standard deviations",
    "rankme": "RankMe, of the embeddings as they are",
    "alpha": "power by which the spectrum falls (alpha-ReQ)",
    "isotropy": "IsoScore, 0 to 1",
    "std": "root of the mean variance of the dimensions",
    "min_std": "smallest standard deviation of a dimension",
    "norm": "root mean square of the embeddings' numbers",
    "spread": "std over norm: 0 for constant embeddings",
    "clumping": "distance to the fifth neighbor over that in a normal cloud: 1 for a cloud, 0 for heaps",
    "uniformity": "log mean of exp(-2 d²) over pairs on the sphere, lower is more uniform",
    "normality": "SIGReg's statistic over the number of rows, 0 for a normal distribution",
    "within": "share of the tokens' variance within a datum",
    "over_time": "the same where tokens are steps of time",
    "place": "share of the tokens' variance that their place explains",
    "r2": "1 - MSE / variance of the target",
    "target_std": "root mean variance of the targets' dimensions",
    "target_spread": "target_std over the targets' root mean square",
    "copy_ratio": "error over that of copying the last latent",
    "seen_ratio": "error over that of repeating the mean of the context",
    "place_share": "share of the targets' variance that their place explains",
    "predicted_place": "share of the predictions' variance that their place explains",
    "place_gain": "1 - error over that of a predictor that knows the place alone",
    "teacher_gap": "distance of the teacher's weights from its source's, over their size",
}


@dataclass(frozen=True)
class Reading:
    """Numbers by name (see MEANING; those that have no meaning here are absent) and the variances of the principal
    directions, largest first.

    broken: what was not finite, in words; there are no other numbers then.
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    spectrum: tuple[float, ...] = ()
    step: int = 0
    broken: str = ""

    @staticmethod
    def of_row(row: Mapping[str, object]) -> Reading | None:
        """What a row of log.jsonl tells; None if nothing was read at its step."""
        numbers, verdict = row.get("diagnostics"), str(row.get("verdict", ""))
        if not isinstance(numbers, dict):
            return None
        known = {str(name): float(value) for name, value in numbers.items() if isinstance(value, int | float)}
        broken = verdict.removeprefix(BROKEN) if verdict.startswith(BROKEN) else ""
        return Reading(known, step=int(str(row["step"])), broken=broken)

    def by_rank(self) -> dict[str, float]:
        """A few of the spectrum's variances, by rank: 1, 2, 3, 4, 6, 8, 11, 16, ..., as a log keeps them."""
        ranks = sorted({round(2 ** (half / 2)) for half in range(2 * max(1, len(self.spectrum)).bit_length() + 1)})
        return {str(rank): self.spectrum[rank - 1] for rank in ranks if rank <= len(self.spectrum)}

    def get(self, name: str) -> float | None:
        """A number, None where it is absent."""
        return self.numbers.get(name)


def read(
    embeddings: Tokens | Float[Tensor, "n D"], forecast: Forecast | None = None, step: int = 0, **more: float | None
) -> Reading:
    """Read all numbers that embeddings of different inputs allow, in float64.

    embeddings: one per input [n, D], or tokens [n, N, D], of which the mean of each input is read, and how they differ
    within it. more: further numbers to keep, e.g. teacher_gap; None is left out.
    Raises:
        ShapeError: fewer than 2 inputs.
    """
    tokens = embeddings if isinstance(embeddings, Tokens) else None
    x = tokens.pooled() if tokens is not None else embeddings
    assert isinstance(x, Tensor)
    if len(x) < 2:
        raise ShapeError(f"{len(x)} rows cannot be examined: give the embeddings of at least 2 inputs")
    broken = _broken(x, forecast)
    if broken:
        return Reading({"rows": float(len(x)), "dimensions": float(x.shape[1])}, step=step, broken=broken)
    found = token_numbers(tokens) if tokens is not None else {}
    if forecast is not None:
        found |= forecast_measures(forecast)
    moments, picked = Moments.of(x), x[subsample(len(x)).to(x.device)]
    numbers = covariance_numbers(moments) | pair_numbers(picked) | found
    numbers |= {name: float(value) for name, value in more.items() if value is not None}
    return Reading(numbers, tuple(moments.spectrum().tolist()), step)


def stream(chunks: Iterable[Float[Tensor, "n D"]], rows: int, step: int = 0, **more: float | None) -> Reading:
    """The same of `rows` embeddings that come in chunks and are never in memory together.

    What covariances tell is exact; what needs pairs is read off `subsample(rows)`. more: as of `read`.
    Raises:
        ShapeError: fewer than 2 rows, or another number than was said.
    """
    wanted, seen, kept, moments = subsample(rows), 0, [], None
    for chunk in chunks:
        inside = wanted[(wanted >= seen) & (wanted < seen + len(chunk))] - seen
        kept.append(chunk[inside.to(chunk.device)])
        bad = int((~chunk.isfinite().all(1)).sum())
        if bad:
            where = f"NaN or infinity in {bad} of rows {seen:,} to {seen + len(chunk) - 1:,}"
            return Reading({"rows": float(rows), "dimensions": float(chunk.shape[1])}, step=step, broken=where)
        moments = Moments.of(chunk) if moments is None else moments + Moments.of(chunk)
        seen += len(chunk)
    if seen != rows or seen < 2 or moments is None:
        raise ShapeError(f"{seen} rows came where {rows} were announced: give at least 2, and all that you announce")
    numbers = covariance_numbers(moments) | pair_numbers(torch.cat(kept))
    numbers |= {name: float(value) for name, value in more.items() if value is not None}
    return Reading(numbers, tuple(moments.spectrum().tolist()), step)


def covariance_numbers(moments: Moments) -> dict[str, float]:
    """What mean and covariance tell."""
    variance, width = moments.spectrum(), len(moments.mean)
    each = moments.covariance().diagonal().clamp_min(0)
    std, size = each.mean().sqrt(), variance.sqrt()
    norm = (moments.scatter.diagonal().mean() / moments.count + moments.mean.square().mean()).sqrt()
    found = {
        "rows": moments.count,
        "dimensions": width,
        "directions": (size >= USED * size[0]).sum() if size[0] > 0 else 0,
        "participation": participation_ratio(variance),
        "effective_rank": effective_rank(size),
        "rankme": rankme_of(moments.singular()),
        "alpha": alpha_req(variance),
        "isotropy": isotropy(variance, width),
        "std": std,
        "min_std": each.min().sqrt(),
        "norm": norm,
        "spread": std / norm if norm > 0 else 0.0,
    }
    return _finite(found)


def pair_numbers(x: Float[Tensor, "n D"]) -> dict[str, float]:
    """What pairs of a subsample tell."""
    return _finite({"clumping": clumping(x), "uniformity": uniformity(x), "normality": normality(x)})


def token_numbers(tokens: Tokens) -> dict[str, float]:
    """How tokens of at least 2 data differ within a datum, and by place where all have the same coordinates."""
    name = "over_time" if tokens.pos.shape[-1] == 1 else "within"
    found: dict[str, Tensor | float] = {name: within_share(tokens.x, tokens.valid)}
    grid = tokens.valid is None and len(tokens.x) > 1 and bool((tokens.pos == tokens.pos[:1]).all())
    if grid and tokens.x.shape[1] > 1:
        found["place"] = place_share(tokens.x)
    return _finite(found)


def _broken(x: Tensor, forecast: Forecast | None) -> str:
    bad = int((~x.isfinite().all(1)).sum())
    if bad:
        return f"NaN or infinity in {bad} of {len(x)} embeddings"
    parts = [] if forecast is None else [forecast.predicted, forecast.target]
    return "" if all(bool(part.isfinite().all()) for part in parts) else "NaN or infinity in the forecast"


def _finite(found: Mapping[str, Tensor | float]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items() if torch.tensor(float(value)).isfinite()}
