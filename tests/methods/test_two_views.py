"""Two-view methods: symmetric, with gradients where their papers have them, and teachers that are plain averages."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from armillary.errors import ConfigError
from armillary.functional.rectified import rectified_samples
from armillary.functional.regularize import unit_directions
from armillary.methods.image import kerjepa, rectified_lpjepa
from armillary.methods.rivals import barlow, byol, moco, simclr, simsiam, vicreg
from armillary.nn.encoder import VisionTransformer, ViT
from armillary.nn.resnet import ResidualNetwork, ResNet
from armillary.randomness import Random, numbered

ALL = [simclr, moco, byol, simsiam, vicreg, barlow, kerjepa, rectified_lpjepa]
BOTH_LEARN = [simclr, vicreg, barlow, kerjepa, rectified_lpjepa]  # no part of their losses is held fixed
STOPPED = [moco, byol, simsiam]
AVERAGED = [moco, byol]


def names(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def built(module: ModuleType):
    torch.manual_seed(0)
    method, batch = module.tiny()
    if module is rectified_lpjepa:
        method.between = pinned(method, batch)
    return method.train(), batch


def pinned(method, batch):
    """Rectified LpJEPA's terms of two views; each keeps its samples of the target, wherever it stands."""
    random, between, first = Random(0, 1, batch["index"]), method.between, []
    wanted = [rectified_samples(random, method.config.out, stream=f"target/{v}") for v in range(2)]
    directions = unit_directions(method.config.out, 64, torch.Generator().manual_seed(0))

    def of(one: Tensor, two: Tensor):
        first[:] = first or [one]
        return between(one, two, wanted if one is first[0] else wanted[::-1], directions)

    return of


def two_views(method, batch) -> tuple[Tensor, Tensor]:
    return method.views(batch, Random(0, 1, batch["index"]))


@pytest.mark.parametrize("module", ALL, ids=names)
def test_loss_is_symmetric_in_its_views(module):
    method, batch = built(module)
    one, two = two_views(method, batch)
    there, back = method.between(one, two), method.between(two, one)
    assert not torch.equal(one, two)
    for term, value in there.items():
        assert torch.allclose(value, back[term], rtol=1e-5, atol=1e-6), term


@pytest.mark.parametrize("module", [m for m in ALL if m is not simclr], ids=names)
def test_views_pass_one_by_one(module):
    """Every pass of an encoder, the teacher's too, holds the rows of one view, so that its norms see no other."""
    method, batch = built(module)
    passes = []
    for part in method.modules():
        if isinstance(part, ResidualNetwork | VisionTransformer):
            first = part.stem if isinstance(part, ResidualNetwork) else part.tokenizer
            first.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    method.between(*two_views(method, batch))
    assert passes == [8] * (4 if module in AVERAGED else 2)


@pytest.mark.parametrize("module", [byol, moco, vicreg, barlow], ids=names)
def test_only_the_second_view_is_solarized(module):
    config = module.Config()
    assert (config.one.solarize, config.two.solarize, config.one.blur, config.two.blur) == (0.0, 0.2, 1.0, 0.1)


class Cut(nn.Module):
    """A predictor that passes no gradient on."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).detach()


@pytest.mark.parametrize("module", STOPPED, ids=names)
def test_target_gets_no_gradient(module):
    """Without the way through the predictor no gradient is left, so targets pass none; with it there is one."""
    method, batch = built(module)
    views = two_views(method, batch)
    assert method.energy(method.between(*views)).requires_grad
    method.predictor = Cut(method.predictor)
    assert not method.energy(method.between(*views)).requires_grad


def slopes(method, views: tuple[Tensor, Tensor], count: int = 6, step: float = 2e-3) -> tuple[Tensor, Tensor]:
    """How fast the energy changes along random directions: as the gradient says, and as finite differences say."""
    trained = [p for p in method.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(method.energy(method.between(*views)), trained)
    generator, said, found = torch.Generator().manual_seed(0), [], []
    for _ in range(count):
        way = [torch.randn(p.shape, generator=generator) for p in trained]
        norm = torch.stack([w.square().sum() for w in way]).sum().sqrt()
        said.append(torch.stack([(g * w).sum() for g, w in zip(gradient, way, strict=True)]).sum() / norm)
        values = []
        with torch.no_grad():
            for move in (step, -2 * step, step):
                for p, w in zip(trained, way, strict=True):
                    p.add_(w / norm, alpha=move)
                values.append(method.energy(method.between(*views)))
        found.append((values[0] - values[1]) / (2 * step))
    return torch.stack(said), torch.stack(found)


def hold(method, fixed: int) -> None:
    """Cut the gradient of the first or of the second view; SimCLR embeds both at once, the others in turn."""
    embed, outputs = method.embed, []

    def cut(view: Tensor) -> Tensor:
        outputs.extend(embed(view).split(8))
        last = [z.detach() if place % 2 == fixed else z for place, z in enumerate(outputs)][-(len(view) // 8) :]
        return torch.cat(last)

    method.embed = cut


def test_views_of_simclr_share_the_statistics_of_their_norms():
    """As released: both views pass together, so a change of one changes the embeddings of the other."""
    method, batch = built(simclr)
    one, two = two_views(method, batch)
    kept = [b.clone() for b in method.buffers()]
    method.between(one, two)
    together = [b.clone() for b in method.buffers()]
    for b, old in zip(method.buffers(), kept, strict=True):
        b.copy_(old)
    method.embed(torch.cat([one, two]))
    assert all(torch.equal(a, b) for a, b in zip(together, method.buffers(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(kept, together, strict=True))


@pytest.mark.parametrize("module", BOTH_LEARN, ids=names)
def test_gradient_reaches_both_views(module):
    """The gradient is that of the whole loss by finite differences; with either view held fixed it is not."""
    method, batch = built(module)
    views = two_views(method, batch)
    said, found = slopes(method, views)
    assert (said - found).norm() < 0.05 * found.norm()
    for fixed in (0, 1):
        method, _ = built(module)
        hold(method, fixed)
        said, found = slopes(method, views)
        assert (said - found).norm() > 0.2 * found.norm()


@pytest.mark.parametrize("module", AVERAGED, ids=names)
def test_teacher_is_the_average_of_all_steps_along_a_cosine(module):
    method, _ = built(module)
    first, last = method.config.momentum
    expected = [p.detach().clone() for p in method.online.parameters()]
    for step in range(5):
        with torch.no_grad():
            for p in method.online.parameters():
                p.add_(0.1 * (step + 1))
        method.after_step(step / 5)
        momentum = 1 - (1 - first) * (math.cos(math.pi * step / 5) + 1) / 2  # BYOL's formula; `last` is 1
        expected = [
            momentum * old + (1 - momentum) * new for old, new in zip(expected, method.online.parameters(), strict=True)
        ]
    assert last == 1.0
    for own, value in zip(method.teacher.parameters(), expected, strict=True):
        assert torch.allclose(own, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("module", AVERAGED, ids=names)
def test_teacher_uses_the_statistics_of_its_batch_and_keeps_its_own(module):
    method, batch = built(module)
    means = [b for name, b in method.teacher.named_buffers() if name.endswith("running_mean")]
    before = [b.clone() for b in means]
    method.loss(batch, Random(0, 1, batch["index"]))
    assert means and all(not torch.equal(a, b) for a, b in zip(means, before, strict=True))
    seen = [b.clone() for b in means]
    method.after_step(0.0)
    assert all(torch.equal(a, b) for a, b in zip(means, seen, strict=True))


def test_patch_projection_of_a_vit_stays_random_in_moco_only_where_asked():
    method, _ = built(moco)
    frozen = [name for name, p in method.online.named_parameters() if not p.requires_grad]
    assert frozen == ["encoder.tokenizer.proj.weight", "encoder.tokenizer.proj.bias"]
    free = moco.MoCo(moco.Config(method.config.encoder, hidden=16, out=8, frozen_patches=False))
    with_resnet = moco.MoCo(moco.Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=8))
    assert all(p.requires_grad for other in (free, with_resnet) for p in other.online.parameters())


def test_predictor_of_moco_ends_in_a_norm_behind_a_vit_only():
    """As released: behind a ResNet it ends in its linear map, without bias."""
    with_vit, _ = built(moco)
    with_resnet = moco.MoCo(moco.Config(ResNet(image=32, base=4, blocks=(1, 1)), layers=2, hidden=16, out=8))
    assert not isinstance(with_vit.predictor[-1], nn.Linear) and with_vit.predictor[-1].weight is None
    assert isinstance(with_resnet.predictor[-1], nn.Linear) and with_resnet.predictor[-1].bias is None


def test_default_encoder_of_moco_is_the_released_vit_small():
    config = moco.Config().encoder
    assert (config.width, config.depth, config.heads, config.init) == (384, 12, 12, "xavier")


def test_heads_have_the_layers_of_their_papers():
    """Widths of all linear maps, and whether the last one ends in a norm."""

    def widths(head: nn.Module) -> list[int]:
        return [part.out_features for part in head.modules() if isinstance(part, nn.Linear)]

    found = {names(module): built(module)[0] for module in ALL}
    assert widths(found["simclr"].projector) == [16, 8]
    assert widths(found["moco"].online.projector) == [16, 16, 8] and widths(found["moco"].predictor) == [16, 8]
    assert widths(found["byol"].online.projector) == [16, 8] and widths(found["byol"].predictor) == [16, 8]
    assert widths(found["simsiam"].projector) == [16, 16, 16] and widths(found["simsiam"].predictor) == [8, 16]
    assert widths(found["vicreg"].projector) == widths(found["barlow"].projector) == [16, 16, 8]
    normed = [found["simclr"].projector, found["moco"].online.projector, found["moco"].predictor,
              found["simsiam"].projector]  # fmt: skip
    assert all(not isinstance(head[-1], nn.Linear) for head in normed)
    assert all(head[-1].weight is None for head in normed[1:])  # plain
    linear = [found["byol"].predictor, found["simsiam"].predictor, found["vicreg"].projector, found["barlow"].projector]
    assert all(isinstance(head[-1], nn.Linear) for head in linear)


def test_shift_of_the_last_norm_of_simclr_stays_zero():
    method, batch = built(simclr)
    method.energy(method.loss(batch, Random(0, 1, batch["index"]))).backward()
    last = method.projector[-1]
    assert last.bias.grad is None and not last.bias.any() and last.weight.grad is not None


def test_embeddings_of_rectified_lpjepa_are_sparser_the_lower_the_mean_of_the_target():
    """On fixed images a few steps towards the target move the share of zeros its way."""
    shares = []
    for mu in (1.0, -2.0):
        torch.manual_seed(0)
        config = replace(rectified_lpjepa.tiny()[0].config, mu=mu)
        method, batch = rectified_lpjepa.RectifiedLpJEPA(config).train(), rectified_lpjepa.tiny()[1]
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
        for step in range(20):
            optimizer.zero_grad()
            method.energy(method.loss(batch, Random(0, step, batch["index"]))).backward()
            optimizer.step()
        z = method.embed(batch["image"]).detach()
        assert float(z.min()) >= 0
        shares.append(float((z == 0).float().mean()))
    assert shares[0] < 0.4 < 0.6 < shares[1]


@pytest.mark.parametrize("choice", ["ksd", "mmd", "sliced mmd"])
def test_discrepancies_of_kerjepa_see_a_collapse(choice):
    method, _ = built(kerjepa)
    method = kerjepa.KerJEPA(replace(method.config, out=8, discrepancy=choice))
    normal = numbered(256).normal("z", 8)
    assert abs(float(method.apart(normal))) < 0.02 < float(method.apart(normal * 0.1))


def test_byol_is_the_squared_distance_of_unit_vectors():
    method, batch = built(byol)
    one, two = two_views(method, batch)
    expected = torch.zeros(())
    for seen, asked in ((one, two), (two, one)):
        p = nn.functional.normalize(method.predictor(method.online(seen)), dim=-1)
        y = nn.functional.normalize(method.teacher(asked), dim=-1)
        expected = expected + (p - y).square().sum(-1).mean()
    assert torch.allclose(method.between(one, two)["prediction"], expected, rtol=1e-5)


@pytest.mark.parametrize("module", ALL, ids=names)
def test_a_vit_is_taken_as_encoder(module):
    method, batch = module.tiny()
    vit = ViT(image=32, patch=8, width=32, depth=1, heads=2, class_token=True)
    method = type(method)(type(method.config)(vit, hidden=16, out=8)).train()
    method.energy(method.loss(batch, Random(0, 1, batch["index"]))).backward()
    dead = [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not dead and method.encode(batch).x.shape == (8, 16, 32)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: simclr.Config(temperature=0.0), lambda: moco.Config(momentum=(0.9, 1.1)), lambda: byol.Config(out=0),
        lambda: simsiam.Config(layers=0), lambda: vicreg.Config(variance=-1.0), lambda: barlow.Config(redundancy=-1.0),
        lambda: kerjepa.Config(bandwidth=-1.0), lambda: rectified_lpjepa.Config(p=0.0),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="is allowed"):
        wrong()


@pytest.mark.parametrize("module", ALL, ids=names)
def test_gray_images_of_one_channel_are_taken(module):
    config = module.tiny()[0].config
    encoder = ResNet(image=16, base=4, blocks=(1, 1), channels=1)
    method = type(built(module)[0])(type(config)(encoder, hidden=16, out=8)).train()
    batch = {
        "index": torch.arange(8), "image": numbered(8).normal("image", 1, 16, 16),
        "normalization": torch.tensor([[0.5], [0.25]]).expand(8, 2, 1),
    }  # fmt: skip
    assert method.energy(method.loss(batch, Random(0, 1, batch["index"]))).isfinite()
    assert method.encode(batch).x.shape == (8, 64, 8)
