"""Frames of tokens: coordinates in order, and masks by a rule written again."""

from __future__ import annotations

import pytest

from armillary.functional.frames import frame_causal, frame_places


def test_places_are_time_row_column_with_conditions_first_at_the_corner():
    found = frame_places(2, 2, before=1)
    patches = [[0, 0], [0, 0], [0, 1], [1, 0], [1, 1]]
    assert found.tolist() == [[t, *place] for t in (0, 1) for place in patches]


@pytest.mark.parametrize("window", [0, 1, 2, 3, 9])
def test_a_token_sees_its_own_frame_and_those_of_the_window_before(window):
    frames, tokens = 4, 3
    found = frame_causal(frames, tokens, window)
    for i in range(frames * tokens):
        for j in range(frames * tokens):
            ago = i // tokens - j // tokens
            assert bool(found[i, j]) == (ago >= 0 and (not window or ago < window))
