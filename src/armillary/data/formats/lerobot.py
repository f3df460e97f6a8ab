"""LeRobot data sets, versions 2 and 3, read directly: Parquet rows, MP4 videos and the index of episodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ..pixels import small
from .recording import Recording, optional, unbroken
from .table import Rows, values

Row = Mapping[str, Any]


def is_lerobot(path: Path) -> bool:
    """Whether a folder is one."""
    return (path / "meta" / "info.json").is_file()


def open_lerobot(path: Path, size: int) -> Recording:
    """`meta/info.json` names the columns; version 2 keeps an episode per file, version 3 many.

    Version 2: `meta/episodes.jsonl`, one Parquet and one MP4 per episode. Version 3: `meta/episodes/**.parquet` says in
    which files, and from which second of a video, an episode lies. Columns that are videos are images here.
    Source: huggingface/lerobot:src/lerobot/datasets, and info.json of published data sets.
    Raises:
        DataError: another version, files that the index names are missing, frames are missing, damaged files.
    """
    told = _told(path)
    episodes = _episodes(path, told)
    features: dict[str, dict[str, Any]] = told["features"]
    videos = {name for name, feature in features.items() if feature.get("dtype") == "video"}
    images = videos | {name for name, feature in features.items() if feature.get("dtype") == "image"}
    columns = {
        name: (0, 0, 3) if name in images else () if shape == (1,) else shape
        for name, feature in features.items()
        if len(shape := tuple(feature.get("shape") or ())) <= 1 or name in images
    }
    opened = lru_cache(maxsize=2)(Rows)
    numeric = [name for name in columns if name not in videos and features[name].get("dtype") != "string"]

    def load(episode: int, name: str) -> np.ndarray:
        row = episodes[episode]
        what = f"{name} of episode {row['episode_index']} of {path}"
        if name in videos:
            rate = float((features[name].get("info") or features[name].get("video_info") or {}).get("video.fps", 0))
            first = float(row.get(f"videos/{name}/from_timestamp", 0.0))
            file = path / told["video_path"].format(video_key=name, **_place(row, told, f"videos/{name}"))
            return video_frames(file, first, int(row["length"]), float(told["fps"]) or rate, size, what)
        file = path / told["data_path"].format(**_place(row, told, "data"))
        if not file.is_file():
            raise DataError(f"{what} should be in {file}, which is not there: copy the data set again")
        return values(_rows_of(opened(file), row, numeric).column(name), size, what)

    return Recording(
        path, "lerobot", tuple(str(row["episode_index"]) for row in episodes), columns, load, frozenset(images),
        labels={name: _names(feature.get("names")) for name, feature in features.items() if name not in images},
        frame_rate=float(told["fps"]), parts=_parts(told, len(episodes)),
    )  # fmt: skip


def video_frames(path: Path, first: float, count: int, rate: float, size: int, what: str) -> np.ndarray:
    """`count` frames of a video from second `first` on, `rate` a second, as uint8 [T, h, w, 3].

    Raises:
        DataError: the file is missing or damaged, or frames are missing.
    """
    av = optional("av", "video", f"{path.name} (video)")
    if not path.is_file():
        raise DataError(f"{what} should be in {path}, which is not there: copy the data set again")
    taken: dict[int, np.ndarray] = {}
    try:
        with av.open(str(path)) as video:
            stream = video.streams.video[0]
            if first > 0:
                video.seek(int(first / stream.time_base), stream=stream)
            for frame in video.decode(stream):
                place = round((float(frame.pts * stream.time_base) - first) * rate)
                if place >= count:
                    break
                if place >= 0 and place not in taken:
                    taken[place] = small(frame.to_ndarray(format="rgb24"), size)
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"{path} cannot be decoded ({error}): copy the video again") from None
    missing = sorted(set(range(count)) - taken.keys())
    if missing:
        raise DataError(
            f"{what} has {count} steps, its video lacks {len(missing)} frames from {missing[0]} on: restore "
            f"{path.name}, or leave the episode out"
        )
    return np.stack([taken[place] for place in range(count)])


def _told(path: Path) -> dict[str, Any]:
    file = path / "meta" / "info.json"
    try:
        told = json.loads(file.read_text())
        version = str(told["codebase_version"])
        told["features"], told["data_path"], told["fps"] = told["features"], told["data_path"], float(told["fps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({type(error).__name__}: {error}): copy it again") from None
    if not version.startswith(("v2", "v3")):
        raise DataError(f"{path} is LeRobot version {version}: v2 and v3 are read; use LeRobot's own scripts")
    return told


def _episodes(path: Path, told: Row) -> list[Row]:
    """The index of episodes in order."""
    lines, folder = path / "meta" / "episodes.jsonl", path / "meta" / "episodes"
    if lines.is_file():
        rows: list[Row] = [json.loads(line) for line in lines.read_text().splitlines() if line.strip()]
    else:
        rows = []
        for file in sorted(folder.rglob("*.parquet")):
            held = Rows(file)
            wanted = [n for n in held.schema.names if not n.startswith("stats/") and n != "tasks"]
            rows += held.take(0, held.count, wanted).to_pylist()
    if not rows:
        raise DataError(f"{path} has no index of episodes: copy meta/episodes.jsonl (v2) or meta/episodes (v3) again")
    rows.sort(key=lambda row: row["episode_index"])
    if len(rows) != told.get("total_episodes", len(rows)):
        raise DataError(f"the index of {path} has {len(rows)} episodes, info.json says {told['total_episodes']}")
    return rows


def _place(row: Row, told: Row, of: str) -> dict[str, int]:
    """What the templates of paths ask for, in either version."""
    number = int(row["episode_index"])
    return {
        "episode_index": number, "episode_chunk": number // int(told.get("chunks_size", 1000)),
        "chunk_index": int(row.get(f"{of}/chunk_index", 0)), "file_index": int(row.get(f"{of}/file_index", 0)),
    }  # fmt: skip


def _rows_of(file: Rows, row: Row, columns: list[str]) -> Any:
    """The rows of an episode in a file that may hold several."""
    number, length = int(row["episode_index"]), int(row["length"])
    if "episode_index" in file.schema.names:
        places = np.flatnonzero(file.column("episode_index") == number)
    else:
        places = np.arange(file.count)
    if len(places) != length or (length and places[-1] - places[0] + 1 != length):
        raise DataError(
            f"episode {number} has {len(places)} rows in {file.path}, the index says {length}: rows are missing or "
            "doubled; copy the data set again, or leave the episode out"
        )
    table = file.take(int(places[0]), int(places[-1]) + 1, [n for n in columns if n in file.schema.names])
    if "frame_index" in table.column_names:
        unbroken(table.column("frame_index").to_numpy(), str(number), file.path)
    return table


def _names(held: Any) -> tuple[str, ...]:
    """Names of dimensions, which are a list, a list in a list, or a dictionary of one list."""
    while isinstance(held, Mapping) or (isinstance(held, list) and len(held) == 1 and isinstance(held[0], list)):
        inner = list(held.values()) if isinstance(held, Mapping) else held
        held = inner[0] if len(inner) == 1 else None
    return tuple(map(str, held)) if isinstance(held, list) else ()


def _parts(told: Row, count: int) -> tuple[str, ...]:
    """The part of each episode, from ranges such as "0:45"; () where there is one range only."""
    parts = [""] * count
    for name, span in (told.get("splits") or {}).items():
        first, _, stop = str(span).partition(":")
        if first.isdigit() and stop.isdigit():
            for number in range(int(first), min(int(stop), count)):
                parts[number] = "train" if name.startswith("train") else "test"
    return tuple(parts) if set(parts) == {"train", "test"} else ()
