"""Files of embeddings come back as they were written, in chunks, or are refused in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from armillary.data.formats import features
from armillary.data.formats.features import open_features
from armillary.errors import DataError


def matrix(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def written(tmp_path, x, kind):
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        np.save(path, x.numpy())
    elif kind == "safetensors":
        save_file({"embeddings": x, "step": torch.tensor(3)}, path)
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"id": list(range(len(x))), "e": list(x.numpy())}), path)
    return path


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
def test_rows_and_chunks_are_what_was_written(tmp_path, kind, monkeypatch):
    x = matrix(50, 6)
    file = open_features(written(tmp_path, x, kind))
    monkeypatch.setattr(features, "CHUNK", 4 * 6 * 7)
    parts = list(file.chunks())
    assert [len(part) for part in parts] == [7] * 7 + [1] and torch.equal(torch.cat(parts), x)
    assert torch.equal(file.rows(torch.tensor([3, 4, 17, 49])), x[[3, 4, 17, 49]])


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_tokens_keep_their_axes_and_halves_become_float32(tmp_path, kind):
    x = matrix(9, 4, 5).half()
    file = open_features(written(tmp_path, x, kind))
    assert file.shape == (9, 4, 5) and torch.equal(file.rows(torch.arange(9)), x.float())


def test_columns_of_numbers_are_dimensions(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    x = matrix(20, 3)
    pq.write_table(pa.table({f"d{i}": x[:, i].numpy() for i in range(3)} | {"label": [0] * 20}), tmp_path / "x.parquet")
    assert torch.equal(torch.cat(list(open_features(tmp_path / "x.parquet").chunks())), x)


def test_one_of_several_tensors_is_named(tmp_path):
    save_file({"a": matrix(4, 2), "b": matrix(5, 2)}, tmp_path / "x.safetensors")
    assert len(open_features(tmp_path / "x.safetensors", "b")) == 5
    with pytest.raises(DataError, match="say which are the embeddings with --name"):
        open_features(tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="has no 'c'"):
        open_features(tmp_path / "x.safetensors", "c")


def test_what_is_no_file_of_embeddings_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(5))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "one.npy").read_bytes()[:30])
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    for name, words in {
        "one.npy": "shape", "words.npy": "numbers", "pickle.npy": "cannot be read", "cut.npy": "cannot be read",
        "cut.safetensors": "cannot be read", "none.npy": "no file", "x.csv": "read from",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=words):
            open_features(tmp_path / name)
