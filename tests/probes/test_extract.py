"""Features come in a fixed order, from an encoder in evaluation mode, beside their targets."""

import pytest
import torch
from torch import nn

from armillary.errors import DataError, ShapeError
from armillary.probes.extract import extract, raw_input, raw_patches
from armillary.types import Tokens


class Rows:
    """Row i holds the number i in every place; frames of a row count on in tenths."""

    def __init__(self, n=10, target="label"):
        self.n, self.target = n, target

    def __len__(self):
        return self.n

    def batch(self, index):
        x = index.float()[:, None, None].expand(-1, 3, 2) + torch.arange(3)[:, None] / 10
        state = torch.stack([index, -index], 1).float()
        kinds = {"label": index % 3, "state": state, "frames": state[:, None] + torch.arange(3)[:, None] / 10}
        return {"index": index, "x": x, self.target: kinds[self.target], "episode": index // 2}

    def prepare(self, batch):
        return batch | {"x": batch["x"] + 1}


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.norm.eval()
        self.seen = []

    def encode(self, batch):
        self.seen.append((self.training, self.dropout.training, torch.is_grad_enabled()))
        return Tokens(self.dropout(batch["x"]), batch["x"][..., :1])


def test_rows_are_encoded_in_order_without_gradient_and_in_evaluation_mode():
    encoder = Encoder().train()
    encoder.norm.eval()  # a part that the user froze stays frozen
    found = extract(encoder.encode, Rows(), batch=4)
    assert encoder.seen == [(False, False, False)] * 3
    assert encoder.training and encoder.dropout.training and not encoder.norm.training
    assert torch.equal(found.index, torch.arange(10)) and torch.equal(found.y, torch.arange(10) % 3)
    assert torch.allclose(found.x, (torch.arange(10.0) + 1.1)[:, None].expand(-1, 2))  # prepared, mean of three tokens
    assert torch.equal(found.group, torch.arange(10) // 2)


def test_modes_return_after_an_error():
    encoder = Encoder().train()
    with pytest.raises(DataError):
        extract(encoder.encode, Rows(target="state"))
    assert encoder.training and encoder.dropout.training


def test_the_batch_size_changes_nothing():
    one, other = (extract(raw_input("x"), Rows(), batch=size) for size in (1, 7))
    assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)


def test_a_part_is_random_but_the_same_every_time():
    first, second = (extract(raw_input("x"), Rows(1000), count=100) for _ in range(2))
    assert torch.equal(first.index, second.index) and len(first.index.unique()) == 100
    assert 400 < first.index.float().mean() < 600  # not the first ones, which may all be of one class
    assert len(extract(raw_input("x"), Rows(10), count=99).x) == 10


def test_tokens_are_kept_when_asked_for():
    assert extract(Encoder().encode, Rows(), pool=False).x.shape == (10, 3, 2)
    assert torch.equal(extract(raw_input("x"), Rows()).x[4], torch.tensor([5, 5, 5.1, 5.1, 5.2, 5.2]))


def test_frames_with_a_truth_each_become_rows():
    found = extract(Encoder().encode, Rows(target="frames"), target="frames")
    assert found.x.shape == (30, 2) and found.y.shape == (30, 2)
    assert torch.allclose(found.x[:, 0] - 1, found.y[:, 0])  # each frame stands beside its own truth
    assert found.index[:6].tolist() == [0, 0, 0, 1, 1, 1] and found.group[:7].tolist() == [0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(ShapeError, match="3 frames, the encoder gave 1 tokens"):
        extract(raw_input("x"), Rows(target="frames"), target="frames")


def test_unlabelled_rows_and_no_rows_are_explained():
    with pytest.raises(DataError, match=r"needs 'label', the rows hold only .*data\.label"):
        extract(raw_input("x"), Rows(target="state"))
    with pytest.raises(DataError, match="at least 1"):
        extract(raw_input("x"), Rows(), count=0)


def test_kept_tokens_know_where_they_are_and_their_mean_is_what_pooling_gives():
    encoder = Encoder()
    kept, pooled = (extract(encoder.encode, Rows(), batch=4, pool=pool) for pool in (False, True))
    assert kept.x.shape == (10, 3, 2) and pooled.pos is None
    assert kept.pos is not None and torch.equal(kept.pos, kept.x[..., :1])
    assert torch.equal(kept.pooled().x, pooled.x) and kept.pooled().pos is None and pooled.pooled() is pooled


def test_masks_are_targets_of_whole_images():
    class Masked(Rows):
        def batch(self, index):
            return {"index": index, "x": index.float()[:, None], "mask": index[:, None, None].expand(-1, 4, 5)}

    found = extract(raw_input("x"), Masked(), target="mask", pool=False)
    assert found.y.shape == (10, 4, 5) and found.y.dtype == torch.int32 and found.index.tolist() == list(range(10))
    with pytest.raises(DataError, match=r"needs 'mask', the rows hold only .*data\.mask"):
        extract(raw_input("x"), Rows(), target="mask")


def test_unequal_numbers_of_tokens_cannot_be_kept():
    def encode(batch):
        return Tokens(batch["x"], batch["x"][..., :1], torch.arange(3) < 1 + batch["index"][:, None])

    assert extract(encode, Rows()).x.shape == (10, 2)
    with pytest.raises(ShapeError, match="unequal numbers of tokens"):
        extract(encode, Rows(), pool=False)


def test_raw_patches_are_the_pixels_of_the_cells():
    image = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    tokens = raw_patches("image", 2, 3)({"image": image})
    assert tokens.x.shape == (2, 6, 12) and tokens.pos[0].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert torch.equal(tokens.x[1, 4], image[1, :, 2:4, 2:4].flatten())
    assert raw_patches("image", 3, 4)({"image": image}).x.shape == (2, 12, 3 * 2 * 2)  # 4 x 6 becomes 6 x 8
