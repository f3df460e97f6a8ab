"""The verdict on a representation, from the same rows looked at again and again while training."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..types import Forecast
from .rank import deviations, participation_ratio, rankme, spectrum

SPREAD = 0.05  # standard deviation over root mean square below which embeddings count as constant
SHRUNK = 0.2  # of the largest standard deviation of the run: below it embeddings count as collapsing
USED = 0.01  # of the strongest direction's standard deviation: from here on a direction counts as used
FEW, SHARE = 8, 0.05  # dimensional collapse: fewer directions than both 8 and 5 % of the dimensions are used


@dataclass(frozen=True)
class Health:
    """What `examine` found.

    participation, rankme: see `rank`. std: root of the mean variance of the dimensions; min_std: the smallest of their
    standard deviations. spread: std over root mean square, 0 for constant embeddings. directions: how many principal
    directions, of `dimensions`, have 1 % of the strongest one's standard deviation or more. r2: 1 - MSE / variance of
    the target; copy_ratio: MSE over that of copying the last latent; None where there is none. spectrum: variances of
    the principal directions, largest first. verdict: one sentence in plain language.
    """

    participation: float
    rankme: float
    std: float
    min_std: float
    spread: float
    directions: int
    dimensions: int
    r2: float | None
    copy_ratio: float | None
    spectrum: tuple[float, ...]
    verdict: str

    @property
    def healthy(self) -> bool:
        """Nothing was found."""
        return self.verdict == "healthy"

    def row(self) -> dict[str, float]:
        """The numbers that are known, without the spectrum, for a log."""
        names = ("participation", "rankme", "std", "min_std", "spread", "directions", "dimensions", "r2", "copy_ratio")
        return {name: float(value) for name in names if (value := getattr(self, name)) is not None}


def examine(latents: Float[Tensor, "n D"], forecast: Forecast | None = None, peak: float = 0.0) -> Health:
    """Look for collapse in the embeddings of different inputs and, if given, in a forecast.

    peak: the largest `std` found earlier in the run, 0 where none was. Verdicts, the first that holds:

    - not finite: NaN or infinity in `latents` or `forecast`.
    - complete collapse: `spread` below 5 %. Measured here: 17 % or more in untrained vision transformers of 4 to 12
      blocks, 50 to 100 % in trained ones and world models, 3 % in an I-JEPA whose learning rate made it collapse.
    - target collapse: the same of the forecast's targets; R² near 1 says nothing then.
    - slow collapse: `std` below 20 % of its peak. A world model of a moving dot without SIGReg shrank like this for
      hundreds of steps, with R² at 0.8 and all directions in use; with SIGReg, and in I-JEPA, `std` grew.
    - dimensional collapse: fewer than 8 directions, and than 5 % of the dimensions, have 1 % of the strongest one's
      standard deviation. The participation ratio alone, for which an alarm below 5 % of the dimensions has been
      proposed, cries wolf: it was 1.7 to 2.0 of 96 in a healthy I-JEPA on small images, and 2.3 to 5.5 of 128 or 192 in
      a world model of a dot, whose truth has two dimensions. There weak directions remain (17 or more by our count),
      whereas in a collapse nothing but rounding noise is left beside the strong ones.
    - no prediction: R² is not positive, or the error is not below that of copying the last latent. Both hold for some
      time at the start of healthy training too.

    Raises:
        ShapeError: fewer than 2 rows.
    """
    if len(latents) < 2:
        raise ShapeError(f"{len(latents)} rows cannot be examined: give the embeddings of at least 2 inputs")
    width = latents.shape[1]
    parts = [latents] if forecast is None else [latents, forecast.predicted, forecast.target]
    if not all(bool(part.isfinite().all()) for part in parts):
        bad = int((~latents.isfinite().all(1)).sum())
        where = f"{bad} of {len(latents)} embeddings" if bad else "the forecast"
        verdict = f"not finite: NaN or infinity in {where}"
        return Health(0.0, 0.0, 0.0, 0.0, 0.0, 0, width, None, None, (), verdict)
    variance, each = spectrum(latents), deviations(latents)
    size, std, spread = variance.sqrt(), float(each.square().mean().sqrt()), _spread(latents)
    directions = int((size >= USED * size[0]).sum()) if size[0] > 0 else 0
    r2, copy_ratio = _accuracy(forecast)
    few = directions < max(1.5, min(FEW, SHARE * min(len(latents) - 1, width))) and width > 1
    return Health(
        participation=float(participation_ratio(variance)),
        rankme=float(rankme(latents)),
        std=std,
        min_std=float(each.min()),
        spread=spread,
        directions=directions,
        dimensions=width,
        r2=r2,
        copy_ratio=copy_ratio,
        spectrum=tuple(variance.tolist()),
        verdict=_constant(spread, forecast)
        or (
            f"slow collapse: embeddings vary by {std / peak:.1%} of their peak in this run"
            if std < SHRUNK * peak
            else ""
        )
        or (f"dimensional collapse: {directions} of {width} directions used" if few else "")
        or _unpredicted(r2, copy_ratio)
        or "healthy",
    )


def _constant(spread: float, forecast: Forecast | None) -> str:
    if spread < SPREAD:
        return f"complete collapse: embeddings of different inputs differ by {spread:.1%} of their size"
    if forecast is not None and len(forecast.target) > 1 and (left := _spread(forecast.target)) < SPREAD:
        return f"target collapse: what is to be predicted differs by {left:.1%} of its size, so R² means nothing"
    return ""


def _unpredicted(r2: float | None, copy_ratio: float | None) -> str:
    if r2 is not None and r2 <= 0:
        return f"prediction explains nothing yet: R² {r2:.2f}, no better than the mean of the targets"
    if copy_ratio is not None and copy_ratio >= 1:
        return f"prediction no better than copying the last observation: {copy_ratio:.2f} times its error"
    return ""


def _spread(x: Float[Tensor, "n D"]) -> float:
    """Standard deviation over root mean square, both over all dimensions together; 0 where all is 0."""
    size = x.double().square().mean().sqrt()
    return float(deviations(x).square().mean().sqrt() / size) if size > 0 else 0.0


def _accuracy(forecast: Forecast | None) -> tuple[float | None, float | None]:
    """R² and the ratio to copying; None where the denominator is 0."""
    if forecast is None:
        return None, None
    target = forecast.target.double()
    error = (forecast.predicted.double() - target).square().mean()
    variance = target.var(0, correction=0).mean()
    r2 = float(1 - error / variance) if variance > 0 else None
    if forecast.last is None:
        return r2, None
    copied = (forecast.last.double() - target).square().mean()
    return r2, float(error / copied) if copied > 0 else None
