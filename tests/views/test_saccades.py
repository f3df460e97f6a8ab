"""Fixations follow their weights, do not return and depend on their sample alone; foveae are the image's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import ConfigError, ShapeError
from armillary.randomness import Random, numbered
from armillary.views.saccades import contrast, fixations, foveae, window_means


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def windows(x: np.ndarray, size: int) -> np.ndarray:
    """Every window of a map, one after the other."""
    rows, columns = (side - size + 1 for side in x.shape)
    return np.array([[x[r : r + size, c : c + size].ravel() for c in range(columns)] for r in range(rows)])


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_means_and_contrasts_equal_loops_over_windows(size):
    image = noise(3, 2, 6, 9) * 5 + 40
    image[1] = 7.0  # flat
    for row in range(3):
        bright = image[row].double().numpy().mean(0)
        inside = windows(bright, size)
        means = window_means(torch.from_numpy(bright)[None].float(), size)[0]
        assert np.allclose(means.numpy(), inside.mean(-1), rtol=1e-5)
        assert np.allclose(contrast(image, size)[row].numpy(), inside.std(-1), atol=3e-3)
    assert not contrast(image, size)[1].any()


def test_contrast_ignores_brightness_and_grows_with_scale():
    image = noise(2, 3, 8, 8)
    assert torch.allclose(contrast(image + 30, 4), contrast(image, 4), atol=1e-4)
    assert torch.allclose(contrast(image * -2, 4), 2 * contrast(image, 4), atol=1e-4)


def test_first_fixations_follow_their_weights():
    weight = torch.tensor([[0.0, 1.0, 2.0], [5.0, 0.0, 12.0]])
    places = fixations(weight.expand(20_000, -1, -1), 1, numbered(20_000))[:, 0]
    found = torch.bincount(places[:, 0] * 3 + places[:, 1], minlength=6) / 20_000
    expected = weight.flatten() / 20
    assert torch.allclose(found, expected, atol=4 * (0.25 / 20_000) ** 0.5)
    assert not found[expected == 0].any()


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(-1, 4), st.integers(1, 7), st.integers(0, 1000))
def test_no_place_comes_again_while_others_are_left(rows, columns, reach, count, seed):
    """Against a set of what is free, kept in plain loops."""
    weight = noise(4, rows, columns, seed=seed).exp() * torch.tensor([1.0, 1e30, 1e-30, 0.0])[:, None, None]
    weight[1, 0, 0] = 0.0
    places = fixations(weight, count, numbered(4, seed), reach)
    assert places.shape == (4, count, 2) and bool((places >= 0).all())
    for sample in range(4):
        free = {(r, c) for r in range(rows) for c in range(columns)}
        for r, c in places[sample].tolist():
            assert (r, c) in free or (not free and r < rows and c < columns)
            free -= {(i, j) for i, j in free if max(abs(i - r), abs(j - c)) <= reach}


def test_what_is_drawn_depends_on_the_sample_alone_and_begins_the_same():
    weight, random = noise(6, 5, 7).exp(), Random(3, 11, torch.tensor([4, 9, 2, 2, 0, 71]))
    weight[3] = weight[2]
    places = fixations(weight, 5, random, 1)
    assert torch.equal(places[:, :2], fixations(weight, 2, random, 1))
    assert torch.equal(places[2], places[3])
    part = fixations(weight[[5, 1]], 5, Random(3, 11, torch.tensor([71, 9])), 1)
    assert torch.equal(part, places[[5, 1]])
    assert not torch.equal(places, fixations(weight, 5, Random(3, 12, random.sample), 1))


def test_places_where_the_eye_was_before_are_not_gone_back_to():
    weight, random = torch.ones(6, 5, 5), numbered(6)
    before = fixations(weight, 3, numbered(6, 9), 1)
    for draw in range(20):
        place = fixations(weight, 1, random.child(draw), 1, visited=before)
        apart = (place - before).abs().amax(-1)
        assert bool((apart > 1).all())


def test_scale_of_the_weights_does_not_matter_and_useless_ones_are_uniform():
    weight, random = noise(5, 4, 4).exp(), numbered(5)
    assert torch.equal(fixations(weight * 1e-30, 3, random), fixations(weight, 3, random))
    flat = fixations(torch.ones(5, 4, 4), 3, random)
    for useless in (0.0, -2.0, torch.nan, torch.inf):
        assert torch.equal(fixations(torch.full((5, 4, 4), useless), 3, random), flat)


def test_foveae_are_pixels_of_the_image():
    image, corner = noise(2, 3, 7, 9), torch.tensor([[[0, 0], [4, 6], [2, 1]], [[3, 3], [0, 6], [4, 0]]])
    found = foveae(image, corner, 3)
    assert found.shape == (2, 3, 3, 3, 3)
    for b in range(2):
        for n in range(3):
            r, c = corner[b, n].tolist()
            assert torch.equal(found[b, n], image[b, :, r : r + 3, c : c + 3])


def test_what_cannot_be_drawn_is_refused_in_words():
    with pytest.raises(ConfigError, match="0 fixations"):
        fixations(torch.ones(2, 3, 3), 0, numbered(2))
    with pytest.raises(ShapeError, match="3 samples have weights"):
        fixations(torch.ones(2, 3, 3), 1, numbered(3))
    for given_up in (lambda: foveae(noise(1, 3, 4, 6), torch.zeros(1, 1, 2, dtype=torch.long), 5),
                     lambda: contrast(noise(1, 3, 4, 6), 5)):  # fmt: skip
        with pytest.raises(ShapeError, match="square of 5 pixels does not fit an image of 4x6"):
            given_up()
