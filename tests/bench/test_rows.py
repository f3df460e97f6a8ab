"""Rows that are kept: whole or absent, and without places of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from armillary.bench import rows
from armillary.errors import DataError


def test_appended_rows_are_read_again_and_the_last_of_a_key_counts(tmp_path: Path):
    path = tmp_path / "below" / "rows.jsonl"
    for value in (1, 2):
        rows.append(path, {"key": "a", "value": value})
    rows.append(path, {"key": "b", "value": (1.23456789, float("nan"), True)})
    assert rows.read(path) == [{"key": "a", "value": 2}, {"key": "b", "value": [1.23457, None, True]}]
    assert rows.read(tmp_path / "none.jsonl") == []


def test_half_a_row_of_a_crash_is_removed_and_a_whole_one_without_line_end_is_kept(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"key": "a"}\n{"key": "cut o')
    rows.append(path, {"key": "b"})
    assert path.read_text() == '{"key": "a"}\n{"key": "b"}\n'
    path.write_text('{"key": "a"}\n{"key": "edited by hand"}')
    rows.append(path, {"key": "b"})
    assert [row["key"] for row in rows.read(path)] == ["a", "edited by hand", "b"]
    path.write_text('{"ke')
    rows.append(path, {"key": "b"})
    assert path.read_text() == '{"key": "b"}\n'


@pytest.mark.parametrize("line", ["{", "[1]", "3", "null", '{"value": 1}'])
def test_damage_before_the_last_line_is_told_with_its_line(tmp_path: Path, line: str):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"key": "a"}}\n{line}\n{{"key": "b"}}\n')
    with pytest.raises(DataError, match=r"line 2 of .* is no row"):
        rows.read(path)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
def test_packed_answers_come_back(n: int):
    right = torch.arange(n) % 3 == 0
    assert torch.equal(rows.unpacked(rows.packed(right), n), right)


def test_damaged_answers_are_refused():
    with pytest.raises(DataError, match="no packed answers"):
        rows.unpacked("?", 8)
    with pytest.raises(DataError, match="of 8 test rows, not of 9"):
        rows.unpacked(rows.packed(torch.ones(8, dtype=torch.bool)), 9)


def test_equal_trees_have_equal_keys():
    assert rows.key({"a": 1, "b": [2.5]}) == rows.key({"b": [2.5], "a": 1}) != rows.key({"a": 1, "b": [2.6]})


def test_places_of_this_machine_are_hidden_and_other_words_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = tmp_path / "pictures"
    data.mkdir()
    hidden = rows.places(str(data), tmp_path / "out")
    said = f"{data}/a.png and {tmp_path}/out/.work/x in {Path.home()}/lib"
    assert rows.without(said, hidden) == "pictures/a.png and OUT/.work/x in ~/lib"
    monkeypatch.chdir(data)
    assert rows.without("0.5 of 3 in .", rows.places(".", Path("o"))) == "0.5 of 3 in ."


def test_file_of_one_row_is_none_where_it_is_damaged(tmp_path: Path):
    path = tmp_path / "row.json"
    assert rows.one(path) is None
    path.write_text("[1]")
    assert rows.one(path) is None
    path.write_text(json.dumps({"key": "a"}))
    assert rows.one(path) == {"key": "a"}
