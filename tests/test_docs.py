"""What the documentation shows runs, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import armillary
from armillary.commands import workspace
from armillary.contracts import build, check_method
from armillary.randomness import numbered

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_python_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    from PIL import Image

    for i, color in enumerate(("red", "blue", "green") * 20):
        path = tmp_path / "pictures" / color / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), color).save(path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.replace("steps=1000", "steps=2"), "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "95 % interval" in shown and "tensor" in shown


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "guide").glob("*.md")), ids=lambda page: page.stem)
def test_python_in_the_guides_runs_and_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    held: dict[str, object] = {}  # blocks of a page follow on each other
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for block in blocks:
        exec(compile(block, page.name, "exec"), held)
    shown = capsys.readouterr().out.splitlines()
    printed = sum(block.count("\nprint(") for block in blocks)
    assert len(shown) >= printed and "" not in shown
    assert page.stem != "radar" or shown == ["healthy"], "what the comment beside it promises"


def test_the_example_keeps_the_contract():
    run = workspace.find(f"{ROOT / 'examples' / 'my_method.py'}:recipe").run
    random = numbered(8)
    assert check_method(build(run.method), {"index": random.sample, "image": random.normal("image", 3, 32, 32)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_names_that_the_readme_promises_are_there():
    promised = re.findall(r"armillary\.(\w+)\(", (ROOT / "README.md").read_text())
    assert promised and all(callable(getattr(armillary, name)) for name in promised)
