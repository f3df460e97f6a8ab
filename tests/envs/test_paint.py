from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from armillary.envs.paint import bell, cover, disc, square, stamp

SIZE = 64
WHITE = torch.full((3,), 255.0)


def stamped(middle: torch.Tensor, shape) -> np.ndarray:
    image = torch.zeros(len(middle), 3, SIZE, SIZE, dtype=torch.uint8)
    stamp(image, middle, shape, WHITE)
    return image[:, 0].double().numpy() / 255


def places(count: int = 40) -> torch.Tensor:
    return 15 + 34 * torch.rand(count, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("radius", [1.0, 2.0, 5.3])
def test_a_disc_has_its_area_and_its_middle_wherever_it_is(radius: float) -> None:
    middle = places()
    share = stamped(middle, disc(radius))
    assert np.allclose(share.sum((1, 2)), math.pi * (radius**2 + 1 / 12), rtol=0.06)  # its edge is a ramp
    at = np.arange(SIZE) + 0.5
    x, y = (share.sum(axis) @ at / share.sum((1, 2)) for axis in (1, 2))
    assert np.allclose(np.stack([x, y], 1), middle.numpy(), atol=0.1)


def test_a_square_has_its_area_at_every_angle_and_looks_the_same_after_a_quarter_turn() -> None:
    angle = torch.linspace(-math.pi, math.pi, 40)
    share = stamped(places(), square(14.0, angle))
    assert np.allclose(share.sum((1, 2)), 14.0**2, rtol=0.02)
    assert np.abs(share - stamped(places(), square(14.0, angle + math.pi / 2))).max() <= 1.01 / 255


def test_a_square_turns_from_x_towards_y() -> None:
    share = stamped(torch.full((1, 2), 32.0), square(20.0, torch.tensor([0.3])))[0]
    corner = 10 * np.array([math.cos(0.3) - math.sin(0.3), math.sin(0.3) + math.cos(0.3)]) * 0.9 + 32
    other = 10 * np.array([math.cos(0.3) + math.sin(0.3), math.sin(0.3) - math.cos(0.3)]) * 0.9 + 32
    mirrored = np.array([corner[1], corner[0]])
    shares = [share[int(y), int(x)] for x, y in (corner, other, mirrored)]
    assert shares[:2] == [1, 1] and shares[2] < 1


@pytest.mark.parametrize(
    "shape", [bell(1.7), disc(3.0), square(9.0, torch.tensor([0.4]))], ids=["bell", "disc", "square"]
)
@pytest.mark.parametrize("middle", [(32.2, 20.9), (1.0, 63.0), (-3.0, 30.0), (200.0, -500.0)], ids=str)
def test_a_stamp_is_the_whole_image_drawn_at_once(shape, middle) -> None:
    scene = torch.randint(0, 256, (1, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    image = scene.clone()
    color = torch.tensor([255.0, 10.0, 80.0])
    stamp(image, torch.tensor([middle]), shape, color)
    at = torch.arange(SIZE) + 0.5
    share = shape.share((at - middle[0])[None, None], (at - middle[1])[None, :, None])
    whole = (scene + share[:, None] * (color[:, None, None] - scene) + 0.5).to(torch.uint8)
    assert int((whole.int() - image.int()).abs().max()) <= 1, "but for rounding"
    assert (whole != image).float().mean() < 1e-3


def test_cover_gives_whole_and_partial_pixels() -> None:
    assert cover(torch.tensor([1.25]), torch.tensor([3.5]), 5).tolist() == [[0, 0.75, 1, 0.5, 0]]
    assert cover(torch.tensor([2.2]), torch.tensor([2.6]), 4)[0].sum().item() == pytest.approx(0.4, abs=1e-6)
