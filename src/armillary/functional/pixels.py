"""Reconstruction of pixels by patches, as in masked autoencoders (arXiv 2111.06377). Float32."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ..errors import ShapeError


def patchify(image: Shaped[Tensor, "B C h w"], patch: int) -> Shaped[Tensor, "B N P"]:
    """Square patches as rows: patches by row and column, in a patch by row, column and channel; P = patch^2 C.

    Raises:
        ShapeError: `patch` does not divide both sides.
    Source: facebookresearch/mae:models_mae.py, which allows square images only.
    """
    if image.ndim != 4 or image.shape[2] % patch or image.shape[3] % patch:
        raise ShapeError(f"images [B, C, h, w] with sides that {patch} divides are needed, got {tuple(image.shape)}")
    grid = image.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # [B, C, rows, patch, columns, patch]
    return grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def patch_normalized(target: Float[Tensor, "*B P"], eps: float = 1e-6) -> Float[Tensor, "*B P"]:
    """Each patch with mean 0 and variance 1 over its pixels and channels: unbiased variance, `eps` added to it.

    Source: facebookresearch/mae:models_mae.py. A layer norm differs: it takes the biased variance.
    """
    target = target.float()
    variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
    return (target - mean) * torch.rsqrt(variance + eps)


def masked_pixel_loss(
    predicted: Float[Tensor, "B N P"],
    patches: Float[Tensor, "B N P"],
    mask: Bool[Tensor, "B N"] | None = None,
    normalize: bool = True,
) -> Float[Tensor, ""]:
    """Mean squared error of the pixels of hidden patches.

    Args:
        predicted, patches: of all patches with a mask, or of hidden patches only without one (then equal numbers per
            image give the same value).
        mask: True where a patch was hidden.
        normalize: compare with `patch_normalized` patches (MAE's better variant) or with the pixels as they are.
    Raises:
        ShapeError: the shapes do not fit.
    Source: MAE (arXiv 2111.06377), section 3; facebookresearch/mae:models_mae.py.
    """
    if predicted.shape != patches.shape or (mask is not None and mask.shape != predicted.shape[:2]):
        given = [tuple(predicted.shape), tuple(patches.shape), None if mask is None else tuple(mask.shape)]
        raise ShapeError(f"predictions and patches have one shape [B, N, P] and the mask has [B, N]; got {given}")
    target = patch_normalized(patches) if normalize else patches.float()
    each = (predicted.float() - target).square().mean(-1)
    if mask is None:
        return each.mean()
    return (each * mask).sum() / mask.sum().clamp_min(1)
