"""What recorded episodes tell of a policy before anything moves: its chunks beside those that were taken."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contracts import Method
from ..data.episodes import EpisodeDataset
from ..functional.statistics import bootstrap
from ..planning.readout import Readout
from ..planning.validation import Along
from ..planning.windows import SEEN
from ..randomness import Random, numbered
from ..recipes.run import Json
from .offline import Encoded, encoded

WINDOWS, AT_ONCE = 512, 64  # held-out windows on which chunks are compared, and how many of them at once
Errors = dict[str, Float[Tensor, "n H"]]


def validated(method: Method, dataset: EpisodeDataset, read: Readout | None) -> Json:
    """What recorded episodes tell of a policy; the part `rollout` of report.json, in place of what rollouts tell.

    chunk: L1 of its actions, normalized, beside that of the mean action and of the action taken before; over_...: the
    quotients. The goal is the frame that the chunk ended at. latents: L1 of the predicted ones over that of staying at
    the first, where the method was trained to predict some. probe: R² of the state, read from latents of held-out
    frames. Intervals resample episodes.
    """
    errors, gaps, episode, latents = compared(method, dataset)
    found: Json = {"chunk": chunk_part(errors, episode)}
    if latents is not None:
        found["latents"] = {"ratio": ratio(*latents), "interval": ratio_interval(*latents, episode)}
    if read is not None:
        found["probe"] = {"r2": probed(encoded(method, dataset), read)}
    return found | {"windows": gaps, "verdict": verdict(found["chunk"])}  # type: ignore[arg-type]


@torch.no_grad()
def compared(
    method: Method, dataset: EpisodeDataset
) -> tuple[Errors, int, Int[Tensor, " n"], tuple[Tensor, Tensor] | None]:
    """L1 of chunks by window and step, how many windows, the episode of each, L1 of latents and of staying there."""
    longer = dataset.windows(int(method.config.chunk) + 2)  # type: ignore[union-attr]
    predicts = getattr(method.config, "latent_weight", 1.0) > 0  # else its predictor of latents was never trained
    rows = numbered(1).order("policy windows", len(longer))[0][:WINDOWS]
    parts: list[tuple[Tensor, ...]] = []
    for part in rows.split(AT_ONCE):
        batch = longer.prepare(longer.batch(part))
        frames = {name: batch[name] for name in SEEN if name in batch}
        last, truth = batch["action"][:, :1], batch["action"][:, 1:]
        chunk = method.act(  # type: ignore[operator]
            {name: x[:, :2] for name, x in frames.items()}, {name: x[:, -1:] for name, x in frames.items()}
        )
        said = (chunk, torch.zeros_like(truth), last.expand_as(truth))  # normalized actions have mean 0
        errors = [(x - truth).abs().mean(2) for x in said]
        following = {**batch, "action": truth, **{name: x[:, 1:] for name, x in frames.items()}}
        told = method.forecast(following, Random(0, 0, batch["index"])) if predicts else None
        beside = [] if told is None or told.last is None else [
            (x - told.target).abs().mean(1).unflatten(0, (len(part), -1)) for x in (told.predicted, told.last)
        ]  # fmt: skip
        parts.append((*errors, batch["episode"], *beside))
    model, mean, copied, episode, *latents = (torch.cat(column) for column in zip(*parts, strict=True))
    pair = (latents[0], latents[1]) if latents else None
    return {"l1": model, "mean_action": mean, "copy_last": copied}, len(rows), episode, pair


def chunk_part(errors: Errors, episode: Int[Tensor, " n"]) -> Json:
    """L1 in all, over that of both floors with intervals, and by step of the chunk."""
    found: Json = {name: float(value.mean()) for name, value in errors.items()}
    for name in ("mean_action", "copy_last"):
        found[f"over_{name}"] = ratio(errors["l1"], errors[name])
        found[f"over_{name}_interval"] = ratio_interval(errors["l1"], errors[name], episode)
    steps = range(errors["l1"].shape[1])
    found["by_step"] = [{"step": t + 1, **{n: float(x[:, t].mean()) for n, x in errors.items()}} for t in steps]
    return found


def ratio(error: Float[Tensor, "n H"], floor: Float[Tensor, "n H"]) -> float:
    """Mean over mean; infinite where the floor makes no error."""
    return float(error.double().sum() / floor.double().sum())


def ratio_interval(error: Float[Tensor, "n H"], floor: Float[Tensor, "n H"], episode: Int[Tensor, " n"]) -> list[float]:
    """Bootstrap interval of `ratio`, over episodes: windows of one overlap."""
    place = episode.unique(return_inverse=True)[1]
    count = int(place.max()) + 1
    sums = [torch.zeros(count, dtype=torch.float64).index_add(0, place, x.double().sum(1)) for x in (error, floor)]
    return bootstrap(lambda rows: sums[0][rows].sum() / sums[1][rows].sum(), count)


def probed(data: Encoded, read: Readout) -> float:
    """R² of the state that a probe reads from latents, the mean over quantities."""
    said, state = (read(torch.cat(data.latents))[:, None], torch.cat(data.states)[:, None])
    return float(Along(said, said, said, state).r2("predicted", 1))


def verdict(chunk: Json) -> str:
    """Whether the policy says more of recorded actions than either floor does."""
    told = []
    for name in ("mean_action", "copy_last"):
        low, high = chunk[f"over_{name}_interval"]  # type: ignore[misc]
        told.append((name.replace("_", " "), chunk[f"over_{name}"], low, high))
    words = [f"{value:.2f} [{low:.2f}, {high:.2f}] of that of {name}" for name, value, low, high in told]
    better = all(high < 1 for *_, high in told)
    return f"the policy {'imitates' if better else 'does not surely imitate'}: its error is {' and '.join(words)}"
