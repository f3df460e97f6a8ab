"""The pages of results are what their rows say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from armillary.bench import markdown, rows
from armillary.bench.summary import summary

FOLDER = Path(__file__).parents[2] / "docs" / "results"
ROWS = sorted(FOLDER.glob("*.jsonl"))


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_page_is_made_from_the_rows_beside_it(path: Path):
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert page == markdown.render(summary(rows.read(path))), "run `make results`"


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_every_row_is_of_a_commit_and_names_no_place(path: Path):
    for row in rows.read(path):
        if row["kind"] == "floor":  # written by hand, told by its source
            assert "from the data card" in row["contender"] and 0 < row["score"] < 1
            continue
        assert re.fullmatch(r"[0-9a-f]{40}", str(row["commit"])), f"{row['key']} was made by {row['commit']!r}"
    assert not re.search(r"/(home|root|work|tmp|Users)/", path.read_text(encoding="utf-8"))
