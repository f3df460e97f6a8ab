"""How encoders are measured in a comparison, other probes and masks among them, and what pages make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from armillary.bench import comparison, measure, pictures, rows
from armillary.bench.contenders import contender
from armillary.bench.jobs import Terms, tries
from armillary.bench.splits import Splits, check, open_splits
from armillary.commands.workspace import find
from armillary.contracts import build
from armillary.data.formats.images import Images
from armillary.errors import DataError
from armillary.methods.image import ijepa
from armillary.nn.encoder import ViT
from armillary.probes.extract import extract, raw_input, raw_patches
from armillary.randomness import numbered
from armillary.recipes.run import Probe
from armillary.types import Tokens

CPU = torch.device("cpu")
CONFIG = ijepa.Config(
    ViT(image=16, patch=4, width=16, depth=1, heads=2), predictor_width=8, predictor_depth=1, predictor_heads=2
)


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As camvid: loose images without labels in train and test, and a folder of masks of their bright halves."""
    monkeypatch.setattr("armillary.probes.report.RESAMPLES", 40)
    light = numbered(50, seed=4).uniform("light", 3, 16, 16) * 120
    for i, image in enumerate(light):
        top, part = i % 2 == 0, "train" if i < 35 else "test"
        image[:, 8 * (not top) : 16 - 8 * top] += 120
        mask = torch.zeros(16, 16, dtype=torch.uint8)
        mask[8 * (not top) : 16 - 8 * top] = 1
        for below, pixels in ((part, image.to(torch.uint8).movedim(0, -1)), (f"masks/{part}", mask)):
            path = tmp_path / "street" / below / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(path)
    return tmp_path / "street"


def opened(folder: Path, **changes: object) -> Splits:
    return open_splits(Images(str(folder), size=16, **changes))  # type: ignore[arg-type]


def test_masks_without_labels_are_segmented_beside_their_floors_and_reach_the_pages(street: Path, tmp_path: Path):
    probe, splits = Probe(kinds=("linear", "segmentation", "retrieval"), neighbors=3), opened(street, mask="masks")
    check(splits, probe)
    assert not splits.classes and (len(splits.images), len(splits.test)) == (35, 15)
    method = build(CONFIG, 1)
    found = measure.further({"": method.encode, "untrained": build(CONFIG, 2).encode}, splits, probe, CPU)
    assert found.keys() == {"segmentation"}  # retrieval needs labels
    part = found["segmentation"]
    assert part["measure"] == "mean IoU" and (part["train"], part["test"]) == (35, 15)
    assert part["raw"] > 0.9 > part["chance"]  # type: ignore[operator]
    measured = measure.measured(method.encode, splits, probe, CPU).found
    assert "linear" not in measured and measured["diagnostics"]["rankme"] > 0  # type: ignore[index,operator]
    shared = {"flops": 1e9, "flops_per_step": 1e6, "samples": 8, "steps": 1, "seconds": 1.0, "cpu_seconds": 1.0,
              "parameters": 1, "encoder_parameters": 1, "batch": 8, "lr": 1e-3, "factor": 1.0}  # fmt: skip
    row = {"key": "k", "kind": "run", "contender": "ijepa", "seed": 0, "data": splits.fingerprint(), "budget": 1e9,
           "backbone": "vit16x1/4", "commit": "a" * 40, "scores": measured, "untrained": measured, "curve": [],
           "further": found, "warnings": []}  # fmt: skip
    rows.append(tmp_path / "rows.jsonl", row | shared)
    pictures.patches(method.encode, splits, tmp_path / "out" / "pictures" / "k-patches.png", CPU)
    comparison.write(rows.read(tmp_path / "rows.jsonl"), [], tmp_path / "out")
    text, page = ((tmp_path / "out" / f"comparison.{kind}").read_text() for kind in ("md", "html"))
    assert f"| segmentation, mean IoU | ijepa | vit16x1/4 | {100 * part['score']:.1f} (" in text  # type: ignore[operator]
    assert f"judged by masks: the best mean IoU is {100 * part['score']:.1f} %, of ijepa" in text  # type: ignore[operator]
    assert "Other probes" in page and "patch features of ijepa" in page
    assert str(tmp_path) not in text + page


def test_without_labels_masks_of_held_out_images_judge_learning_rates(street: Path):
    asked = Probe(kinds=("linear", "segmentation"), neighbors=3)
    splits, bare = opened(street, mask="masks"), opened(street)
    one = contender("ijepa", lambda name: (find(name).run, ""), splits, asked)
    terms = Terms(1e9, 3, 0.1, 1)
    assert [job.kind for job in tries(one, terms, splits)] == ["try"] * 3
    plain = contender("ijepa", lambda name: (find(name).run, ""), bare, Probe())
    assert tries(plain, terms, bare) == [], "nothing can judge without labels and masks"
    known, judged = splits.known(True), splits.asked(True)
    assert (len(known), len(judged)) == (31, 4)
    assert measure.validated(raw_patches("image", 4, 4), splits, asked, CPU) > 0.9
    blind = lambda batch: Tokens(torch.zeros(len(batch["image"]), 16, 3), raw_patches("image", 4, 4)(batch).pos)  # noqa: E731
    assert measure.validated(blind, splits, asked, CPU) < 0.6


def test_labels_and_masks_are_measured_together_and_low_shot_by_its_counts(colored: Path, monkeypatch):
    monkeypatch.setattr("armillary.probes.report.RESAMPLES", 40)
    splits = opened(colored)
    probe = Probe(kinds=("low_shot", "clinical"), shots=(0.1, 2.0), draws=2, neighbors=3, iterations=20)
    method = build(CONFIG, 1)
    found = measure.further({"": method.encode, "untrained": method.encode}, splits, probe, CPU)
    assert found.keys() == {"low_shot_10_percent", "low_shot_2_per_class", "clinical"}
    assert all(part["difference"] == 0 for part in found.values())  # the same encoder
    assert found["low_shot_2_per_class"]["train"] == 6
    assert measure.further({"": method.encode}, splits, Probe(), CPU) == {}


def test_try_is_judged_by_held_out_train_images_alone(colored: Path, tmp_path: Path, monkeypatch):
    splits = opened(colored)
    seen: list[tuple[str, int]] = []

    def watched(encode, dataset, target, count, **more):
        found = extract(encode, dataset, target, count, **more)
        held = splits.held[dataset.rows[found.index]]
        assert dataset.whole is splits.labeled
        seen.append(("asked" if held.all() else "known" if not held.any() else "mixed", len(found.x)))
        return found

    monkeypatch.setattr(measure, "extract", watched)
    value = measure.validated(build(CONFIG, 1).encode, splits, Probe(neighbors=3, iterations=20), CPU)
    assert seen == [("known", 54), ("asked", 6)] and 0 <= value <= 1


def test_kept_answers_are_the_score(colored: Path):
    found = measure.measured(build(CONFIG, 1).encode, opened(colored), Probe(neighbors=3, iterations=20), CPU).found
    for name in measure.PROBES:
        part = found[name]
        right = rows.unpacked(part["rows"], 30)  # type: ignore[index]
        assert float(right.double().mean()) == pytest.approx(part["score"])  # type: ignore[index]
    assert (found["train"], found["test"]) == (60, 30)


def test_equal_untrained_encoders_are_measured_once(colored: Path, tmp_path: Path):
    splits, probe = opened(colored), Probe(neighbors=3, iterations=20)
    for seed in (1, 1, 2):
        measure.untrained(build(CONFIG, seed), splits, probe, CPU, tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_masks_of_0_and_255_are_told_how_to_be_read(street: Path):
    for path in (street / "masks").rglob("*.png"):
        with Image.open(path) as mask:
            bright = mask.point(lambda value: 255 * value)
        bright.save(path)
    probe, encode = Probe(kinds=("segmentation",)), build(CONFIG, 1).encode
    with pytest.raises(DataError, match=r"of class 0 or 255, which is ignored.*set data\.foreground"):
        measure.further({"": encode, "untrained": encode}, opened(street, mask="masks"), probe, CPU)
    splits = opened(street, mask="masks", foreground=True)
    assert measure.further({"": encode, "untrained": encode}, splits, probe, CPU)["segmentation"]["raw"] > 0.9  # type: ignore[operator]


def test_raw_pixels_wider_than_a_covariance_is_worth_are_probed_but_not_examined(
    street: Path, monkeypatch: pytest.MonkeyPatch
):
    splits, encode = opened(street, mask="masks"), build(CONFIG, 1).encode
    wide = measure.measured(raw_input("image"), splits, Probe(neighbors=3), CPU).found
    assert wide["diagnostics"] and wide["verdict"] == "healthy"
    monkeypatch.setattr(measure, "WIDE", 100)
    found = measure.measured(raw_input("image"), splits, Probe(neighbors=3), CPU).found
    assert found["diagnostics"] == {} and found["verdict"] == "not examined: 768 dimensions"
    assert measure.measured(encode, splits, Probe(neighbors=3), CPU).found["diagnostics"]
