"""DINO: every view gets the soft assignment to prototypes that a teacher gives another view (arXiv 2104.14294).

q = softmax((g(f_teacher(global view)) - center) / t_teacher),  p = softmax(g(f(any other view)) / t_student)
energy   -q log p, and with iBOT's patch loss (2111.07832) the same at masked patches of the global views
         collapse prevention: averaged teacher, centering against one winner, a low t_teacher against uniform q
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, require
from ...functional.distill import centered_cross_entropy, masked_cross_entropy, sharpened, teacher_temperature
from ...functional.schedule import half_cosine
from ...nn.convnet import ConvNet
from ...nn.encoder import Encoder, VisionTransformer, ViT, encoder
from ...nn.prototypes import Center, PrototypeHead
from ...nn.teacher import EMA
from ...randomness import Random
from ...types import Batch, Forecast, Range, Terms, Tokens
from ...views.blockwise import blockwise
from ...views.pixels import PixelViews, example, pixel_view

GLOBAL = PixelViews(
    crop_scale=(0.4, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, gray=0.2,
    blur=1.0, size=224,
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-S/16 on ImageNet, facebookresearch/dino:main_dino.py, its README for the temperatures."""

    encoder: Encoder = ViT(class_token=True)
    """sizes of student and teacher; with the patch loss a ViT"""
    prototypes: int = 65536
    """outputs of the head"""
    hidden: int = 2048
    """width inside the head"""
    bottleneck: int = 256
    """width of the unit vectors that are compared with the prototypes"""
    student_temperature: float = 0.1
    """divides the student's logits"""
    teacher_temperature: Range = (0.04, 0.07)
    """divides the teacher's logits, at the first step and after the warm-up"""
    temperature_warmup: float = 0.3
    """share of the schedule over which the teacher's temperature rises"""
    momentum: Range = (0.996, 1.0)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""
    center_momentum: float = 0.9
    """momentum of the center of the teacher's logits"""
    frozen: float = 0.01
    """share of the schedule during which the prototypes stay as they are; one epoch of 100 as released"""
    patch_loss: float = 0.0
    """weight of iBOT's loss at masked patches, 1 there; 0 is DINO"""
    mask: Range = (0.1, 0.5)
    """share of a global view that the student does not see, uniform, for every second view on average"""
    locals: int = 8
    """local views, which the student alone sees"""
    one: PixelViews = GLOBAL
    """transforms of which the first global view is drawn"""
    two: PixelViews = replace(GLOBAL, blur=0.1, solarize=0.2)
    """transforms of which the second global view is drawn"""
    local: PixelViews = replace(GLOBAL, crop_scale=(0.05, 0.4), blur=0.5, size=96)
    """transforms of which the local views are drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, prototypes=self.prototypes, hidden=self.hidden, bottleneck=self.bottleneck)
        require(0, math.inf, locals=self.locals, patch_loss=self.patch_loss)
        require(1e-4, 10, student_temperature=self.student_temperature, teacher_temperature=self.teacher_temperature)
        shares = ("temperature_warmup", "momentum", "center_momentum", "frozen", "mask")
        require(0, 1, **{name: getattr(self, name) for name in shares})
        if self.patch_loss and not isinstance(self.encoder, ViT):
            raise ConfigError("the patch loss needs patch tokens: use a ViT as the encoder, or patch_loss 0")
        if isinstance(self.encoder, ConvNet) and self.locals and self.local.size != self.one.size:
            raise ConfigError(
                f"a ConvNet takes views of one size, but local ones have {self.local.size} and global ones "
                f"{self.one.size}: set both to the same, locals to 0, or use a ViT or ResNet"
            )


class Network(nn.Module):
    """Encoder and head: what the teacher is an average of."""

    def __init__(self, config: Config):
        super().__init__()
        self.encoder, self.patches = encoder(config.encoder), config.patch_loss > 0
        init = config.encoder.init if isinstance(config.encoder, ViT) else "released"
        self.head = PrototypeHead(self.encoder.out_width, config.hidden, config.bottleneck, config.prototypes, init)

    def forward(
        self,
        view: Float[Tensor, "B C s s"],
        learn: float | Float[Tensor, ""] = 1.0,
        mask: Bool[Tensor, "B N"] | None = None,
        token: Float[Tensor, " D"] | None = None,
    ) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B N K"] | None]:
        """Logits of a view and, for the patch loss, of its patches; `token` stands in for those under `mask`."""
        if not (self.patches and isinstance(self.encoder, VisionTransformer)):
            return self.head(self.encoder.vector(view), learn), None
        vector, tokens = self.encoder.both(self.encoder.embed(view, mask, token))
        return self.head(vector, learn), self.head(tokens.x, learn)


class DINO(Method):
    """Student and teacher over global and local views; `patch_loss` makes it iBOT with a shared head."""

    progress: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.student = Network(config)
        self.teacher = EMA(self.student, training=True)
        self.center = Center(config.prototypes, config.center_momentum)
        self.register_buffer("progress", torch.zeros(()))  # of the last step: temperatures lag one step behind
        if config.patch_loss:
            self.patch_center = Center(config.prototypes, config.center_momentum)
            self.mask_token = nn.Parameter(torch.zeros(self.student.encoder.out_width))

    @property
    def weights(self) -> dict[str, float]:
        """One term, or two with the patch loss."""
        patches = {"patches": self.config.patch_loss} if self.config.patch_loss else {}
        return {"views": 1.0, **patches}

    def global_views(self, batch: Batch, random: Random) -> Float[Tensor, "R C s s"]:
        """The first view of all images, then the second."""
        views = (self.config.one, "global/0"), (self.config.two, "global/1")
        return torch.cat([pixel_view(batch, random, config, stream) for config, stream in views])

    def local_views(self, batch: Batch, random: Random) -> Float[Tensor, "R C s s"]:
        """The first local view of all images, then the second, and so on."""
        c = self.config
        return torch.cat([pixel_view(batch, random, c.local, f"local/{i}") for i in range(c.locals)])

    def masks(self, view: Float[Tensor, "R C s s"], random: Random) -> Bool[Tensor, "R N"]:
        """Blockwise masks of the global views; with probability 1/2 a view has none (iBOT, section 3.3)."""
        rows, columns = (side // getattr(self.config.encoder, "patch", 1) for side in view.shape[-2:])
        (low, high), least = self.config.mask, (min(rows, columns) // 3) ** 2 / (rows * columns)
        masks = []
        for stream in ("masks/0", "masks/1"):
            draw = random.uniform(f"{stream}/share", 2)
            share = (draw[:, 0] < 0.5) * (low + (high - low) * draw[:, 1])
            masks.append(blockwise(rows, columns, random, (share * rows * columns).long(), least, stream=stream))
        return torch.cat(masks)

    def temperature(self) -> Float[Tensor, ""]:
        """The teacher's, at this time of the schedule."""
        c = self.config
        return teacher_temperature(self.progress, *c.teacher_temperature, c.temperature_warmup)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Cross-entropy with the assignments of the other global views (equation 3), and with those of hidden patches.

        The student's global views are masked where there is a patch loss, for both terms.
        """
        c, view = self.config, self.global_views(batch, random)
        temperatures = c.student_temperature, self.temperature()
        learn = (self.progress >= c.frozen).float()
        mask = self.masks(view, random) if c.patch_loss else None
        student, patches = self.student(view, learn, mask, getattr(self, "mask_token", None))
        teacher, whole = self.teacher(view)
        if c.locals:
            student = torch.cat([student, self.student(self.local_views(batch, random), learn)[0]])
        student, teacher = student.unflatten(0, (2 + c.locals, -1)), teacher.unflatten(0, (2, -1))
        terms = {"views": centered_cross_entropy(student, teacher, self.center.value, *temperatures)}
        self.center.see(teacher)
        if mask is not None and patches is not None and whole is not None:
            terms["patches"] = masked_cross_entropy(patches, whole, mask, self.patch_center.value, *temperatures)
            self.patch_center.see(whole)
        return terms

    def after_step(self, progress: float) -> None:
        """Centers move, the teacher follows; its momentum rises along half a cosine."""
        self.teacher.update(self.student, half_cosine(self.config.momentum, progress))
        self.progress.fill_(progress)
        for part in self.children():
            if isinstance(part, Center):
                part.step()

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens (cells of a convolutional encoder) of the teacher, which the paper evaluates."""
        return cast(Network, self.teacher.module).encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """The teacher's assignment of the first global view, and the student's guess from the second."""
        one, two = self.global_views(batch, random).chunk(2)
        target = sharpened(self.teacher(one)[0], self.center.value, self.temperature())
        return Forecast((self.student(two)[0].float() / self.config.student_temperature).softmax(-1), target)


def tiny() -> tuple[DINO, Batch]:
    """A small instance, with the patch loss, and a batch for the contract tests."""
    vit = ViT(image=32, patch=8, width=32, depth=2, heads=2, class_token=True, init="xavier")
    view = replace(GLOBAL, size=32)
    config = Config(
        vit, prototypes=16, hidden=32, bottleneck=8, momentum=(0.9, 1.0), patch_loss=1.0, locals=2, frozen=0.0,
        one=view, two=replace(view, solarize=0.2), local=replace(view, crop_scale=(0.05, 0.4), size=16),
    )  # fmt: skip
    return DINO(config), example()
