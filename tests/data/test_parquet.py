"""Parquet in Hugging Face's layout is read with its labels; wrong files and columns are explained."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from armillary.data.dataset import open_data
from armillary.data.formats.images import Images
from armillary.errors import DataError

from .conftest import encoded, picture


def write(file, seeds, labels, names=None, column="image", struct=True):
    data = [encoded(picture(seed, (8, 8))) for seed in seeds]
    images = [{"bytes": value, "path": None} for value in data] if struct else data
    table = pa.table({column: images, "label": labels})
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=2)


def opened(path, split="train", **settings):
    return open_data(Images(path=str(path), size=8, **settings), split)


@pytest.mark.parametrize("below", [".", "data"])
def test_parts_and_class_names_are_found(tmp_path, below):
    write(tmp_path / below / "train-00000-of-00002.parquet", [0, 1, 2], [1, 0, 1], ["cat", "dog"])
    write(tmp_path / below / "train-00001-of-00002.parquet", [3], [0], ["cat", "dog"])
    write(tmp_path / below / "validation.parquet", [4], [1], ["cat", "dog"])
    train, test = opened(tmp_path), opened(tmp_path, "test")
    assert len(train) == 4 and len(test) == 1 and train.classes == test.classes == ("cat", "dog")
    batch = train.batch(torch.tensor([3, 0]))
    assert batch["label"].tolist() == [0, 1]
    for row, seed in enumerate((3, 0)):
        pixels = torch.tensor(list(picture(seed, (8, 8)).tobytes()), dtype=torch.uint8).view(8, 8, 3).permute(2, 0, 1)
        assert torch.equal(batch["image"][row], pixels)


def test_one_file_of_plain_bytes_and_words_is_split_by_hash(tmp_path):
    write(tmp_path / "all.parquet", range(30), ["b", "a", "c"] * 10, struct=False)
    train, test = opened(tmp_path / "all.parquet"), opened(tmp_path / "all.parquet", "test")
    assert len(train) == 27 and len(test) == 3 and train.classes == ("a", "b", "c")
    first = int(train.source.names[0].removeprefix("row "))
    assert train.batch(torch.tensor([0]))["label"].tolist() == [[1, 0, 2][first % 3]]


def test_rows_without_labels_have_none(tmp_path):
    write(tmp_path / "train.parquet", [0, 1], [0, 1], ["cat", "dog"])
    write(tmp_path / "test.parquet", [2, 3], [-1, -1], ["cat", "dog"])
    assert "label" not in opened(tmp_path, "test").batch(torch.tensor([0]))


def test_rows_without_bytes_are_bad_images(tmp_path):
    table = pa.table({"image": [{"bytes": encoded(picture(0)), "path": "a"}, {"bytes": None, "path": "/etc/passwd"}]})
    pq.write_table(table, tmp_path / "train.parquet")
    pq.write_table(table, tmp_path / "test.parquet")
    dataset = opened(tmp_path)
    batch = dataset.batch(torch.tensor([0, 1]))
    assert torch.equal(batch["image"][0], batch["image"][1]) and list(dataset.bad) == ["row 1"]


def test_wrong_columns_and_files_are_explained(tmp_path):
    write(tmp_path / "a" / "train.parquet", [0, 1], [0, 1], column="img")
    with pytest.raises(DataError, match=r"no column 'image': did you mean img\?"):
        opened(tmp_path / "a")
    assert len(opened(tmp_path / "a", image="img")) == 2 - 1  # one of the two is held out
    with pytest.raises(DataError, match=r"no column 'lable': did you mean label\?"):
        opened(tmp_path / "a", image="img", label="lable")
    with pytest.raises(DataError, match="holds int64, not encoded images"):
        opened(tmp_path / "a", image="label", label="")
    write(tmp_path / "b" / "train.parquet", [0, 1], [0, 2], ["cat", "dog"])
    with pytest.raises(DataError, match="holds 0 to 2, there are 2 classes"):
        opened(tmp_path / "b")
    whole = (tmp_path / "b" / "train.parquet").read_bytes()
    (tmp_path / "b" / "train.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        opened(tmp_path / "b")
