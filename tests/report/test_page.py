"""The page holds what the folder holds, needs nothing else, and nothing in it is taken for HTML that is not."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from armillary.errors import DataError
from armillary.report import page

from . import example

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Tags, attributes and texts of a page; fails on tags that are not closed."""

    def __init__(self, source: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def values(self, key: str) -> list[str]:
        return [value for name, value in self.attributes if name == key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example.world(tmp_path_factory.mktemp("run") / "demo")


@pytest.fixture(scope="module")
def source(folder: Path) -> str:
    return page.write(folder).read_text(encoding="utf-8")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "demo"))


def headings(source: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", source)


def change(path: Path, **parts: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **parts}), encoding="utf-8")


def test_a_world_model_has_every_section_in_the_order_of_reading(source: str):
    assert headings(source) == [
        "Figures", "Planned episodes", "Planning", "Probes", "Rollout error by horizon", "Training",
        "Health of the representation", "Configuration", "Provenance",
    ]  # fmt: skip


def test_a_run_on_images_has_no_sections_of_worlds(tmp_path: Path):
    source = page.write(example.images(tmp_path / "cifar")).read_text(encoding="utf-8")
    assert headings(source) == [
        "Figures", "Probes", "Training", "Health of the representation", "Configuration", "Provenance"
    ]  # fmt: skip
    words = Reader(source).words
    for shown in ("48.6 %", "47.6 to 49.6 %", "41.2 %", "39.1 %", "10 %", "After 20,000 steps of training"):
        assert shown in words
    assert 'class="badge collapse"' in source


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(source: str):
    reader = Reader(source)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "video"} & set(reader.tags)
    assert not [key for key, _ in reader.attributes if key.startswith("on")]
    assert all(value.startswith("data:image/") for value in reader.values("src"))
    assert all(value.startswith("#") for value in reader.values("href"))
    assert "http:" not in source and "https:" not in source and "@import" not in source
    assert any(value.startswith("default-src 'none'") for value in reader.values("content"))


def test_ids_are_unique_and_references_lead_somewhere(source: str):
    reader = Reader(source)
    ids = reader.values("id")
    assert len(ids) == len(set(ids)) > 0
    used = [value[1:] for value in reader.values("href")] + re.findall(r'url\(#([^)"]+)\)', source)
    assert used and set(used) <= set(ids)


def test_every_picture_says_what_it_shows(source: str):
    assert len(re.findall(r"<img ", source)) == len(re.findall(r'<img [^>]*alt="[^"]+"', source)) == 12
    assert len(re.findall(r"<svg ", source)) == len(
        re.findall(r'<svg [^>]*aria-(?:label="[^"]+|hidden="true)"', source)
    )


def test_numbers_stand_with_their_intervals_and_floors(source: str):
    words = Reader(source).words
    for shown in (
        "0.998",
        "0.997 to 0.998",
        "untrained encoder0.7130.701 to 0.726",
        "+0.2850.272 to 0.297",
        "raw input0.462",
        "99 %",
    ):
        assert shown in words
    for shown in (
        "94.6 to 99.8 %",
        "random policy19 %13 to 27 %",
        "true dynamics90 %",
        "copy-last0.657",
        "after 4 macro",
    ):
        assert shown in words
    for shown in ("10 px wide", "optim", "decay_mask_token", "armillary demo", "478abf2c90d1e0f5", "7 min 32 s"):
        assert shown in words
    assert example.WORLD["summary"] in words and 'class="badge healthy"' in source


def test_the_same_folder_gives_the_same_page(folder: Path, source: str):
    assert page.write(folder).read_text(encoding="utf-8") == source


def test_the_page_is_small(source: str):
    assert len(source.encode()) < 5e6


def test_animations_show_every_step_and_the_goal(source: str):
    gifs = re.findall(r'src="data:image/gif;base64,([^"]+)"', source)
    assert len(gifs) == example.EPISODES
    for encoded in gifs:
        image = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert image.n_frames == example.STEPS + 1 and image.size == (256, 256) and image.info["loop"] == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["recipe", "method", "summary", "verdict", "commit"])
def test_text_of_a_report_is_never_html(copy: Path, name: str):
    change(copy / "report.json", **{name: EVIL})
    change(copy / "run.json", **{name: EVIL})
    reader = Reader(page.write(copy).read_text(encoding="utf-8"))
    assert "script" not in reader.tags and EVIL[:10] in reader.words


def test_names_from_data_are_never_html(copy: Path):
    rows = [
        {"step": i, "energy": 1.0, "terms": {EVIL: 1.0, '" onload="x': 2.0, "$x$ \x00 \ud800": 1.5}} for i in range(9)
    ]
    (copy / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    change(copy / "run.json", values={EVIL: {'"><b': EVIL}}, command='"><script>')
    plan = {EVIL: {"success": 0.5, "interval": [0.4, 0.6]}, "harness": {EVIL: EVIL}}
    change(copy / "report.json", plan=plan, probe={EVIL: {"r2": 0.3, "settings": EVIL}}, machine={"cpu": EVIL})
    arrays = dict(np.load(copy / "episodes.npz"))
    np.savez(copy / "episodes.npz", **{**arrays, "task": np.array([EVIL] * example.EPISODES)})
    reader = Reader(page.write(copy).read_text(encoding="utf-8"))
    assert not {"script", "b"} & set(reader.tags)
    assert not [key for key, _ in reader.attributes if key.startswith("on")]


@pytest.mark.parametrize("kept", ["run.json", "log.jsonl", "report.json"])
def test_one_part_alone_makes_a_page(copy: Path, kept: str):
    for path in copy.iterdir():
        if path.name != kept:
            path.unlink()
    source = page.write(copy).read_text(encoding="utf-8")
    shown = {
        "run.json": ["Configuration", "Provenance"],
        "log.jsonl": ["Training", "Health of the representation"],
        "report.json": ["Figures", "Planning", "Probes", "Rollout error by horizon"],
    }
    assert set(shown[kept]) <= set(headings(source))
    assert ("There are no measurements here" in source) == (kept != "report.json")
    assert Reader(source).words


def test_damaged_parts_are_named_and_the_others_shown(copy: Path):
    (copy / "report.json").write_text('{"recipe": "half', encoding="utf-8")
    (copy / "episodes.npz").write_bytes((copy / "episodes.npz").read_bytes()[:5000])
    with (copy / "log.jsonl").open("a") as file:
        file.write('{"step": 42')
    source = page.write(copy).read_text(encoding="utf-8")
    for note in (
        "report.json could not be read",
        "episodes.npz could not be read",
        "log.jsonl has damaged lines, 1 in",
    ):
        assert note in source
    assert headings(source) == ["Training", "Health of the representation", "Configuration", "Provenance"]


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_what_is_not_a_run_is_refused_with_what_to_do(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no run")
    with pytest.raises(DataError, match=r"give the folder of a run, e\.g\. runs/demo"):
        page.write(tmp_path / name)


def test_a_page_that_cannot_be_written_leaves_no_part_behind(copy: Path):
    before = sorted(path.name for path in copy.iterdir())
    (copy / "report.html").unlink(missing_ok=True)
    (copy / "report.html").mkdir()
    with pytest.raises(OSError):
        page.write(copy)
    assert sorted(path.name for path in copy.iterdir()) == sorted({*before, "report.html"})


def test_worlds_without_places_show_their_goals_as_images(copy: Path):
    arrays = dict(np.load(copy / "episodes.npz"))
    arrays["positions"] = np.concatenate([arrays["positions"]] * 2, -1)  # four numbers: no place in the image
    arrays["goals"] = np.concatenate([arrays["goals"]] * 2, -1)
    np.savez(copy / "episodes.npz", **arrays)
    source = page.write(copy).read_text(encoding="utf-8")
    assert source.count('alt="the goal"') == example.EPISODES and "The ring marks" not in source


def test_alarms_stand_above_the_charts_and_the_spectrum_has_a_history(copy: Path):
    alarm = {
        "kind": "norm",
        "step": 900,
        "since": 825,
        "sure": 0.8,
        "title": "norm drift",
        "seen": "9 <times> as large",
    }
    rows = [json.loads(line) for line in (copy / "log.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows[::10]):
        row["spectrum"] = {str(rank): 2.0 / rank**2 * 0.99**i for rank in (1, 2, 4, 8)}
    rows[20]["alarms"] = [{**alarm, "causes": ["the rate is too high (optim.lr)"]}, "nonsense", {"kind": 3}]
    (copy / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = page.write(copy).read_text()
    assert "Norm drift since step 825" in shown and "the rate is too high (optim.lr)" in shown
    assert "9 &lt;times&gt; as large" in shown and "Seen at step 900, 80% sure" in shown
    assert "Spectrum over time" in shown and "principal directions 1, 2, 4 and 8" in shown


def test_a_run_without_alarms_has_no_box_for_them(source: str):
    assert "Usual causes" not in source and "Spectrum over time" not in source


def test_how_sure_a_world_model_is_and_what_surprises_it_stands_on_the_page(copy: Path):
    held = {"value": 0.903, "low": 0.897, "high": 0.908}
    ensemble = {"episodes": 2000, "coverage": {"0.9": held}, "raw_coverage": {"0.9": held}}
    teleport = {"pairs": 321, "accuracy": 0.987, "auroc": 0.954, "auroc_interval": [0.93, 0.97]}
    change(copy / "report.json", uncertainty={"ensemble": ensemble}, surprise={"teleport": teleport})
    shown = page.write(copy).read_text()
    for said in ("90 % intervals hold", "90.3 %", "89.7 to 90.8 %", "2,000 held-back episodes", "0.954", "321 pairs",
                 "Surprise at teleport, AUROC", "surprises more in 98.7 %"):  # fmt: skip
        assert said in shown, said


def test_what_each_strength_gave_is_not_in_the_cell_of_a_probe(copy: Path):
    report = json.loads((copy / "report.json").read_text())
    report["probe"]["position"]["settings"] = {"strength": 0.01, "validation": {"0.1": 0.111222, "0.01": 0.333444}}
    (copy / "report.json").write_text(json.dumps(report))
    shown = page.write(copy).read_text()
    assert "strength 0.01, chosen among 2" in shown and "0.111222" not in shown
