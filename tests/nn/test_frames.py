"""Predictors of frames: causal in frames and conditions, bounded windows, and the blocks' equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor

from armillary.errors import ShapeError
from armillary.nn.frames import AdaptivePredictor, FramePredictor, TokenPredictor
from armillary.randomness import numbered

FRAMES, SIDE, WIDTH, ACTION = 4, 2, 12, 3
Z, A = numbered(3).normal("z", FRAMES, SIDE**2, WIDTH), numbered(3).normal("a", FRAMES, ACTION)


def tokens(window: int = 0):
    made = TokenPredictor(WIDTH, 24, 2, 2, SIDE, (ACTION,), "xavier").eval()
    return lambda z, a: made(z, a)


def adaptive(window: int = 0):
    made = AdaptivePredictor(WIDTH - 2, 2, 22, ACTION, 2, 2, SIDE, window, "xavier").eval()
    return lambda z, a: made(z, a)


def beside(window: int = 0):
    made = FramePredictor(WIDTH + ACTION, FRAMES, SIDE**2, 2, 3, 6, 20).eval()
    return lambda z, a: made(torch.cat([z, a[:, :, None].expand(-1, -1, SIDE**2, -1)], -1))[..., :WIDTH]


@pytest.fixture(params=[beside, tokens, adaptive], ids=["beside", "tokens", "adaptive"])
def predict(request):
    torch.manual_seed(0)
    return request.param()


@pytest.mark.parametrize("t", range(FRAMES))
def test_a_frame_or_action_changes_no_earlier_prediction_and_all_patches_from_its_own_on(predict, t):
    with torch.no_grad():
        before, z, a = predict(Z, A), Z.clone(), A.clone()
        z[:, t, 1] += torch.randn(WIDTH)  # one patch
        a[:, t] += torch.randn(ACTION)
        for changed in (predict(z, A), predict(Z, a)):
            moved = (changed - before).abs().amax((0, 3))
            assert torch.equal(changed[:, :t], before[:, :t])
            assert bool((moved[t:] > 1e-5).all())


def test_a_shorter_sequence_gives_the_same_predictions(predict):
    with torch.no_grad():
        full = predict(Z, A)
        for frames in range(1, FRAMES):
            torch.testing.assert_close(predict(Z[:, :frames], A[:, :frames]), full[:, :frames], rtol=1e-4, atol=1e-5)


def test_rows_do_not_see_each_other(predict):
    with torch.no_grad():
        torch.testing.assert_close(predict(Z[1:2], A[1:2]), predict(Z, A)[1:2], rtol=1e-4, atol=1e-5)


def test_a_window_hides_what_no_block_reaches():
    torch.manual_seed(0)
    predict, z = adaptive(window=2), Z.clone()  # two blocks of two frames reach two frames back
    z[:, 0] += 1.0 + torch.randn(WIDTH)
    with torch.no_grad():
        moved = (predict(z, A) - predict(Z, A)).abs().amax((0, 2, 3))
    assert moved[3] == 0 and moved[2] > 1e-6


def test_more_frames_than_positions_are_refused():
    predictor = FramePredictor(WIDTH, 2, SIDE**2, 1, 2, 6, 20)
    with pytest.raises(ShapeError, match=r"3 frames.*positions for 2.*method\.history"):
        predictor(Z[:, :3])


def test_only_learned_positions_tell_patches_and_frames_apart():
    torch.manual_seed(0)
    predictor = FramePredictor(WIDTH, FRAMES, SIDE**2, 2, 2, 6, 20).eval()
    same = Z[:, :1, :1].expand(-1, FRAMES, SIDE**2, -1)
    with torch.no_grad():
        assert predictor(same).std((1, 2)).min() > 1e-3
        predictor.position.zero_()
        torch.testing.assert_close(predictor(same), predictor(same)[:, :1, :1].expand_as(same), rtol=1e-4, atol=1e-5)


def test_rotary_positions_tell_patches_apart_and_conditions_from_patches():
    torch.manual_seed(0)
    predictor = TokenPredictor(WIDTH, 24, 2, 2, SIDE, (ACTION,), "xavier").eval()
    with torch.no_grad():
        mixed = predictor(Z[:, :, [1, 0, 2, 3]], A)[:, :, [1, 0, 2, 3]]
        assert (mixed - predictor(Z, A)).abs().max() > 1e-4


def test_dropout_acts_in_training_only():
    predictor = FramePredictor(WIDTH, FRAMES, SIDE**2, 1, 2, 6, 20, dropout=0.5)
    assert not torch.equal(predictor(Z), predictor(Z))
    assert torch.equal(predictor.eval()(Z), predictor(Z))


# The adaptive predictor again, in numpy and float64, one head and one frame at a time.


def array(x: Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * weight + bias


def turned(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """As tests/functional/test_rotary.py checks; here by complex numbers where both angles of a pair are the same."""
    share = x.shape[-1] // 6
    assert share == 1  # one frequency: tiled and paired are alike
    out = x.copy()
    for p in range(3):
        pair = (x[:, 2 * p] + 1j * x[:, 2 * p + 1]) * np.exp(1j * places[:, p])
        out[:, 2 * p], out[:, 2 * p + 1] = pair.real, pair.imag
    return out


def test_adaptive_predictor_is_its_equations_in_float64():
    torch.manual_seed(0)
    extra, inner, heads, window = 2, 18, 2, 2
    predictor = AdaptivePredictor(WIDTH - extra, extra, inner, ACTION, 2, heads, SIDE, window, "xavier")
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    p = {name: array(value) for name, value in predictor.named_parameters()}
    z, a = array(Z[0]), array(A[0])
    x = np.concatenate([z[..., :-extra] @ p["into.weight"].T + p["into.bias"], z[..., -extra:]], -1)
    x = x.reshape(FRAMES * SIDE**2, -1)
    told = np.repeat(a @ p["embed.weight"].T + p["embed.bias"], SIDE**2, 0)
    places = np.array([[t, r, c] for t in range(FRAMES) for r in range(SIDE) for c in range(SIDE)], float)
    for b in ("blocks.0.", "blocks.1."):
        silu = told / (1 + np.exp(-told))
        shift1, scale1, gate1, shift2, scale2, gate2 = np.split(
            silu @ p[b + "modulation.weight"].T + p[b + "modulation.bias"], 6, -1
        )
        y = normed(x, p[b + "norm1.weight"], p[b + "norm1.bias"]) * (1 + scale1) + shift1
        q, k, v = np.split(y @ p[b + "attn.qkv.weight"].T + p[b + "attn.qkv.bias"], 3, -1)
        mixed = np.zeros_like(x)
        for h in range(heads):
            part = slice(h * 10, h * 10 + 10)
            logits = turned(q[:, part], places) @ turned(k[:, part], places).T / np.sqrt(10)
            ago = places[:, None, 0] - places[None, :, 0]
            weight = np.where((ago >= 0) & (ago < window), np.exp(logits), 0)
            mixed[:, part] = weight / weight.sum(1, keepdims=True) @ v[:, part]
        x = x + gate1 * (mixed @ p[b + "attn.proj.weight"].T + p[b + "attn.proj.bias"])
        y = normed(x, p[b + "norm2.weight"], p[b + "norm2.bias"]) * (1 + scale2) + shift2
        y = y @ p[b + "mlp.fc1.weight"].T + p[b + "mlp.fc1.bias"]
        y = y * 0.5 * (1 + erf(y / np.sqrt(2)))
        x = x + gate2 * (y @ p[b + "mlp.fc2.weight"].T + p[b + "mlp.fc2.bias"])
    x = normed(x, p["norm.weight"], p["norm.bias"])
    out = np.concatenate([x[:, :inner] @ p["out.weight"].T + p["out.bias"], x[:, inner:]], -1)
    found = array(predictor(Z[:1], A[:1]))[0].reshape(out.shape)
    np.testing.assert_allclose(found, out, rtol=1e-3, atol=1e-4)
