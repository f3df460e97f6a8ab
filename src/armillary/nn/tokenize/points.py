"""Point clouds to one token per neighbourhood."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...errors import ShapeError
from ...functional.position import sincos
from ...types import Tokens, gather
from ..norm import BatchNorm


@torch.no_grad()
def farthest_points(
    points: Float[Tensor, "B n 3"], count: int, start: Int[Tensor, " B"] | None = None
) -> Int[Tensor, "B G"]:
    """Indices of `count` points, each farthest from those before it, beginning at `start` (default: index 0)."""
    row = torch.arange(len(points), device=points.device)
    picked = [row * 0 if start is None else start]
    far = torch.full(points.shape[:2], torch.inf, device=points.device)
    for _ in range(1, count):
        far = torch.minimum(far, (points - points[row, picked[-1]][:, None]).square().sum(-1))
        picked.append(far.argmax(-1))
    return torch.stack(picked, 1)


@torch.no_grad()
def neighbours(points: Float[Tensor, "B n 3"], centers: Float[Tensor, "B G 3"], count: int) -> Int[Tensor, "B G k"]:
    """Indices of the `count` points nearest to each centre."""
    gap = (centers[:, :, None] - points[:, None]).square().sum(-1)
    return gap.topk(count, largest=False, sorted=False).indices


class PointTokenizer(nn.Module):
    """Clouds [B, n, 3] to groups: farthest-point centres, nearest neighbours, a small PointNet.

    Coordinates are the centres, in the units of the cloud (the unit ball for normalized clouds).
    Source: Point-JEPA (arXiv 2404.16432) after Point-BERT; Ayumu-J-S/Point-JEPA:pointjepa/modules/tokenizer.py.
    """

    def __init__(self, width: int, groups: int, group_size: int, hidden: tuple[int, int, int] = (128, 256, 512)):
        super().__init__()
        self.groups, self.group_size = groups, group_size
        first, local, joint = hidden
        # Without bias before a batch norm: the released convolutions have one that the norm removes.
        self.local = nn.Sequential(
            nn.Linear(3, first, bias=False), BatchNorm(first), nn.ReLU(), nn.Linear(first, local)
        )
        self.joint = nn.Sequential(
            nn.Linear(2 * local, joint, bias=False), BatchNorm(joint), nn.ReLU(), nn.Linear(joint, width)
        )

    def forward(self, points: Float[Tensor, "B n 3"], start: Int[Tensor, " B"] | None = None) -> Tokens:
        """Tokens in the order in which the centres were found.

        Raises:
            ShapeError: the cloud has fewer points than groups or than a group holds.
        """
        if points.shape[1] < max(self.groups, self.group_size):
            raise ShapeError(
                f"a cloud of {points.shape[1]} points cannot give {self.groups} groups of {self.group_size}: "
                "use larger clouds, fewer groups or smaller groups"
            )
        centers = gather(points, farthest_points(points, self.groups, start))  # [B, G, 3]
        near = gather(points, neighbours(points, centers, self.group_size)) - centers[:, :, None]  # [B, G, k, 3]
        x = self.local(near)
        first, *rest = self.joint  # a linear map of [the group's maximum, the point]: the maximum's part once a group
        of_group, of_point = first.weight.chunk(2, 1)  # type: ignore[union-attr]
        x = F.linear(x, of_point) + F.linear(x.amax(2, keepdim=True), of_group)  # [B, G, k, joint]
        for layer in rest:
            x = layer(x)
        return Tokens(x.amax(2), centers)


def coordinate_mlp(width: int) -> nn.Module:
    """Learned embedding of coordinates: 3-128-width with GELU, Point-JEPA's positions."""
    return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))


class CoordinateWaves(nn.Module):
    """Fixed sine-cosine embedding of coordinates in the unit ball: wavelengths 0.4 to 39, as loud as the tokens.

    Not in the released Point-JEPA, whose learned positions can grow until a target is known from where it is alone.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, pos: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B D"]:
        """See `functional.position.sincos`; `width` is a multiple of 6."""
        return 0.4 * sincos(16 * pos, self.width, base=100.0)
