"""Images to one token per patch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from ...errors import ShapeError
from ...functional.position import grid
from ...types import Tokens


class PatchTokenizer(nn.Module):
    """Images [B, C, h, w] to tokens by one linear map of each patch; coordinates (row, column) in patches."""

    def __init__(self, width: int, patch: int, channels: int = 3):
        super().__init__()
        self.patch, self.channels = patch, channels
        self.proj = nn.Linear(channels * patch**2, width)  # the released Conv2d with kernel = stride, as one product

    def forward(self, image: Float[Tensor, "B C h w"]) -> Tokens:
        """Tokens in raster order.

        Raises:
            ShapeError: the image's sides are not multiples of the patch, or it has other channels.
        """
        height, width, p = image.shape[-2], image.shape[-1], self.patch
        if height % p or width % p or not height or not width:
            raise ShapeError(
                f"image is {height}x{width} pixels, not a multiple of the patch size {p}: resize it or change the patch"
            )
        if image.shape[1] != self.channels:
            raise ShapeError(f"image has {image.shape[1]} channels, the encoder was built for {self.channels}")
        patches = image.unflatten(3, (-1, p)).unflatten(2, (-1, p)).permute(0, 2, 4, 1, 3, 5)  # [B, r, c, C, p, p]
        x = self.proj(patches.flatten(3).flatten(1, 2))
        return Tokens(x, grid(height // p, width // p, image.device).expand(len(image), -1, -1))
