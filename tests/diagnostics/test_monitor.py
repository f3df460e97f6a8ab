"""The monitor watches a loop that is not ours."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from armillary.diagnostics import Monitor
from armillary.errors import CollapseError, ConfigError, ShapeError


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shrinking(monitor):
    """A network of someone's that is trained to give all inputs one embedding."""
    torch.manual_seed(0)
    model, same = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 16)), noise(64, 8)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(400):
        z = model(noise(64, 8, seed=step))
        loss = z.var(0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor(step, lambda: model(same))
    return monitor


def test_a_collapse_in_a_plain_loop_is_seen_and_logged_once(caplog):
    with caplog.at_level(logging.WARNING, "armillary.diagnostics"):
        monitor = shrinking(Monitor(every=20))
    assert monitor.verdict.startswith("complete collapse") and len(monitor.radar.history) == 20
    assert caplog.records[0].message.startswith("step ")
    assert sum("complete collapse" in record.message for record in caplog.records) == 1
    assert monitor.reading.spectrum and not monitor.radar.history[0].spectrum


def test_a_monitor_can_stop_the_loop():
    with pytest.raises(CollapseError, match="complete collapse since step"):
        shrinking(Monitor(every=20, stop=True))


def test_embeddings_are_asked_for_only_when_due():
    calls = []
    monitor = Monitor(every=10)
    for step in range(25):
        monitor(step, lambda: calls.append(1) or noise(40, 6))
    assert len(calls) == 3 and monitor.verdict == "healthy"


def test_tokens_forecasts_and_own_numbers_are_read():
    monitor = Monitor(time=True)
    target = noise(30, 4)
    monitor(0, noise(20, 5, 8).requires_grad_(), target + 0.1, target, teacher_gap=0.2)
    found = monitor.reading.numbers
    assert {"over_time", "r2", "teacher_gap"} <= set(found) and "within" not in found


def test_wrong_input_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        Monitor(every=0)
    with pytest.raises(ShapeError, match=r"give \[n, D\]"):
        Monitor()(0, noise(3, 3, 3, 3))
    with pytest.raises(ShapeError, match="at least 2"):
        Monitor()(0, noise(1, 3))
    with pytest.raises(ShapeError, match="belong together"):
        Monitor()(0, noise(9, 3), target=noise(9, 3))
