"""Self-distillation: the student must give the teacher's soft assignment of another view, or of what was masked.

Targets have no gradient. Centering subtracts a running mean of the teacher's logits, so that no prototype wins always;
sharpening divides by a low temperature, so that the assignment does not become uniform. Float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ShapeError
from ..parallel import all_gather, all_mean, ranks

Temperature = float | Float[Tensor, ""]


def centered_cross_entropy(
    student: Float[Tensor, "V B K"],
    teacher: Float[Tensor, "G B K"],
    center: Float[Tensor, " K"],
    student_temperature: float = 0.1,
    teacher_temperature: Temperature = 0.04,
) -> Float[Tensor, ""]:
    """DINO's loss on logits: every view against every other global view, by the teacher's centered assignment.

    Args:
        student: logits of all views, the G global ones first and in the teacher's order.
        teacher: logits of the global views; no gradient flows to them.
        center: see `new_center`, which is called after this.
    Raises:
        ShapeError: the shapes do not fit, or no pair of different views exists.
    Source: DINO (arXiv 2104.14294), equation 3; facebookresearch/dino:main_dino.py.
    """
    return views_cross_entropy(student, sharpened(teacher, center, teacher_temperature), student_temperature)


def views_cross_entropy(
    student: Float[Tensor, "V B K"], target: Float[Tensor, "G B K"], temperature: float = 0.1
) -> Float[Tensor, ""]:
    """Cross-entropy of the student's views against target assignments, as `centered_cross_entropy` averages it.

    mean over pairs (g, v), v != g where v < G, of the mean over rows of -sum_k target[g] log softmax(student[v] / t):
    each of the G V - G pairs counts the same.
    Raises:
        ShapeError: the shapes do not fit, or no pair of different views exists.
    """
    views, globals_ = len(student), len(target)
    if student.shape[1:] != target.shape[1:] or views < globals_ or views < 2:
        raise ShapeError(
            f"student logits are [views, B, K] and the teacher's [globals, B, K], with at least 2 views and no more "
            f"global ones; got {tuple(student.shape)} and {tuple(target.shape)}"
        )
    with torch.autocast(student.device.type, enabled=False):
        guess = F.log_softmax(student.float() / temperature, dim=-1)
        pair = -torch.einsum("gbk,vbk->gv", target.float(), guess) / student.shape[1]
        return all_mean((pair.sum() - pair.diagonal().sum()) / (globals_ * (views - 1)))


def masked_cross_entropy(
    student: Float[Tensor, "B N K"],
    teacher: Float[Tensor, "B N K"],
    mask: Bool[Tensor, "B N"],
    center: Float[Tensor, " K"],
    student_temperature: float = 0.1,
    teacher_temperature: Temperature = 0.04,
) -> Float[Tensor, ""]:
    """iBOT's patch loss on logits: the student saw a mask token where `mask` is True, the teacher saw the patch.

    Cross-entropy at the masked patches, averaged per image, then over images; an image without masked patches counts
    as 0, as in the released code. Equation 2 of the paper adds patches up instead; the released code averages them.
    Call it per global view and average. The class token has the loss of `centered_cross_entropy`.
    Raises:
        ShapeError: the shapes do not fit.
    Source: iBOT (arXiv 2111.07832), equation 2; bytedance/ibot:main_ibot.py (centers of its own for patches).
    """
    if student.shape != teacher.shape or mask.shape != student.shape[:2]:
        raise ShapeError(
            f"student and teacher logits have one shape [B, N, K] and the mask has [B, N]; "
            f"got {tuple(student.shape)}, {tuple(teacher.shape)} and {tuple(mask.shape)}"
        )
    with torch.autocast(student.device.type, enabled=False):
        guess = F.log_softmax(student.float() / student_temperature, dim=-1)
        each = -(sharpened(teacher, center, teacher_temperature) * guess).sum(-1)
        weight = mask.float()
        return all_mean(((each * weight).sum(1) / weight.sum(1).clamp_min(1)).mean())


@torch.no_grad()
def sharpened(
    teacher: Float[Tensor, "*B K"], center: Float[Tensor, " K"], temperature: Temperature
) -> Float[Tensor, "*B K"]:
    """The teacher's assignment softmax((logits - center) / temperature), in float32 and without gradient.

    Raises:
        ShapeError: `center` is not one number per prototype.
    """
    if center.shape != teacher.shape[-1:]:
        raise ShapeError(f"center has shape {tuple(center.shape)}, logits {tuple(teacher.shape)}: they differ in K")
    return ((teacher.float() - center) / temperature).softmax(-1)


@torch.no_grad()
def new_center(
    center: Float[Tensor, " K"], teacher: Float[Tensor, "*B K"], momentum: float = 0.9
) -> Float[Tensor, " K"]:
    """The running mean of the teacher's logits after one more batch, over all rows of all ranks.

    Source: DINO (arXiv 2104.14294), equation 4: the loss of a step uses the center of the steps before it.
    """
    batch = all_mean(teacher.float().flatten(0, -2).mean(0))
    return center * momentum + batch * (1 - momentum)


@torch.no_grad()
def sinkhorn_knopp(
    teacher: Float[Tensor, "B K"], temperature: float = 0.04, iterations: int = 3
) -> Float[Tensor, "B K"]:
    """Assignments in which all prototypes are used equally by the rows of all ranks: replaces centering and softmax.

    Alternately each prototype gets the same total and each row the total 1; computed on logarithms, so that low
    temperatures do not overflow.
    Source: SwAV (arXiv 2006.09882), section 3.1; DINOv2 (arXiv 2304.07193), section 4, with 3 iterations.
    """
    log = teacher.float() / temperature
    rows, prototypes = len(log) * ranks(), log.shape[-1]
    for _ in range(iterations):
        total = all_gather(log.logsumexp(0, keepdim=True)).logsumexp(0)
        log = log - total + torch.log(log.new_tensor(rows / prototypes))
        log = log - log.logsumexp(-1, keepdim=True)
    return log.exp()


def teacher_temperature(
    progress: Float[Tensor, ""], start: float = 0.04, end: float = 0.07, warmup: float = 0.3
) -> Float[Tensor, ""]:
    """The teacher's temperature at a share `progress` of training: linear from `start`, constant after `warmup`.

    Progress is a tensor, so that the host need not wait for the device.
    Source: facebookresearch/dino:main_dino.py; 0.04 to 0.07 over 30 epochs of 300 in its README's ViT-S, which is a
    `warmup` of 0.1. A high temperature at the beginning makes training unstable. Released code changes it per epoch.
    """
    done = (progress / warmup).clamp(0, 1) if warmup > 0 else torch.ones_like(progress)
    return start + (end - start) * done
