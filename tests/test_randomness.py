"""Random numbers are a function of (seed, stream, step, sample), well spread, and the same in any batch."""

from __future__ import annotations

import torch

from armillary.randomness import Random, _mixed, _mixed_tensor, _signed, mix, numbered


def test_a_sample_gets_the_same_numbers_in_any_batch():
    everyone = Random(3, 7, torch.arange(100))
    some = Random(3, 7, torch.tensor([42, 7]))
    for name in ("uniform", "normal"):
        full, part = getattr(everyone, name)("s", 5, 2), getattr(some, name)("s", 5, 2)
        assert torch.equal(part, full[[42, 7]])
    assert torch.equal(some.order("o", 9), everyone.order("o", 9)[[42, 7]])


def test_seed_step_stream_and_sample_all_matter():
    base = numbered(4, 1, 1).uniform("a", 8)
    for other in (
        numbered(4, 2, 1).uniform("a", 8),
        numbered(4, 1, 2).uniform("a", 8),
        numbered(4, 1, 1).uniform("b", 8),
    ):
        assert not torch.equal(base, other)
    assert len(base.flatten().unique()) == base.numel()


def test_numbers_are_uniform_normal_and_uncorrelated():
    r, n = numbered(20_000), 20_000 * 50
    u, z = r.uniform("u", 50), r.normal("z", 50)
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert abs(u.var() - 1 / 12) < 1e-3
    assert u.min() >= 0 and u.max() < 1
    assert abs(z.mean()) < 5 / n**0.5 and abs(z.var() - 1) < 1e-2
    correlation = torch.corrcoef(u.T).fill_diagonal_(0).abs().max()
    assert correlation < 6 / 20_000**0.5
    following = numbered(20_000, step=1).uniform("u", 50)
    assert abs(((u - 0.5) * (following - 0.5)).mean() * 12) < 6 / n**0.5


def test_words_are_mixed_alike_in_python_numpy_and_torch():
    words = torch.tensor([0, 1, -1, 2**63 - 1, -(2**63), 0x123456789ABCDEF])
    assert torch.equal(mix(words), _mixed_tensor(words))
    assert mix(words).tolist() == [_signed(_mixed(word)) for word in words.tolist()]
    assert _mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # first output of SplitMix64 seeded with 0


def test_integers_cover_their_range_evenly():
    counts = torch.bincount(numbered(30_000).integers("i", 7, 1).flatten(), minlength=7)
    assert len(counts) == 7 and (counts - 30_000 / 7).abs().max() < 5 * (30_000 / 7) ** 0.5


def test_orders_are_permutations_and_no_place_is_favoured():
    order = numbered(20_000).order("o", 6)
    assert torch.equal(order.sort(1).values, torch.arange(6).expand(20_000, 6))
    first = torch.bincount(order[:, 0], minlength=6)
    assert (first - 20_000 / 6).abs().max() < 5 * (20_000 / 6) ** 0.5


def test_shared_numbers_do_not_depend_on_the_samples():
    one, two = Random(0, 5, torch.tensor([1])), Random(0, 5, torch.tensor([9, 8]))
    assert torch.equal(torch.rand(4, generator=one.shared("s")), torch.rand(4, generator=two.shared("s")))
    again = torch.rand(4, generator=Random(0, 6, torch.tensor([1])).shared("s"))
    assert not torch.equal(again, torch.rand(4, generator=one.shared("s")))


def test_large_steps_and_seeds_do_not_overflow():
    value = Random(2**62, 10**12, torch.tensor([2**61])).uniform("s", 3)
    assert torch.isfinite(value).all()
