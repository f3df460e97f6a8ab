"""JEPAs that predict distributions, on CIFAR-10 at the settings of ijepa_cifar10."""

from __future__ import annotations

from dataclasses import replace

from ..methods.image import var_jepa, variational_jepa
from .images import SMALL, ijepa_cifar10
from .run import Run


def var_jepa_cifar10() -> Run:
    """Var-JEPA on CIFAR-10, at the settings of ijepa_cifar10, with latents as wide as the encoder."""
    method = var_jepa.Config(
        SMALL, latent=96, auxiliary=16, predictor_width=48, predictor_depth=2, predictor_heads=2, hidden=96
    )
    return replace(ijepa_cifar10(), method=method)


def variational_jepa_cifar10() -> Run:
    """VJEPA of arXiv 2601.14354 on CIFAR-10, at the settings of ijepa_cifar10; `--method.gamma 0.1` is BJEPA."""
    method = variational_jepa.Config(
        SMALL, predictor_width=48, predictor_depth=2, predictor_heads=2, momentum=(0.99, 1.0)
    )
    return replace(ijepa_cifar10(), method=method)
