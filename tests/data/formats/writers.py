"""Tiny episodes of a known world, and files of them in each format's documented layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

LENGTHS = (7, 9, 6)
Episode = dict[str, np.ndarray]


def world(lengths=LENGTHS, seed=0, side=16) -> list[Episode]:
    """Random walks: the state's change is a fixed linear map of the action; each frame has another shade than the next.

    image [T, side, side, 3] uint8, state [T, 3], action [T - 1, 2].
    """
    generator = np.random.default_rng(seed)
    effect = generator.normal(size=(2, 3))
    episodes = []
    for length in lengths:
        action = generator.uniform(-1, 1, (length - 1, 2)).astype(np.float32)
        state = np.concatenate([np.zeros((1, 3)), np.cumsum(action @ effect, 0)]).astype(np.float32)
        shade = (20 + 61 * np.arange(length) + 7 * len(episodes)).astype(np.uint8) % 200
        image = np.broadcast_to(shade[:, None, None, None], (length, side, side, 3)).copy()
        image[:, : side // 2, :, 1] = 17  # so that rows, columns and channels are told apart
        episodes.append({"image": image, "state": state, "action": action})
    return episodes


def full(action: np.ndarray, last: float = 0.0) -> np.ndarray:
    """One action for each frame: the last one, which leads nowhere, is `last` throughout."""
    return np.concatenate([action, np.full((1, action.shape[1]), last, action.dtype)])


def joined(episodes: list[Episode], last: float = 0.0) -> dict[str, np.ndarray]:
    """All steps one after another, with `terminals` at the last frame of each episode."""
    return {
        "image": np.concatenate([e["image"] for e in episodes]),
        "state": np.concatenate([e["state"] for e in episodes]),
        "action": np.concatenate([full(e["action"], last) for e in episodes]),
        "terminals": np.concatenate([np.arange(len(e["state"])) == len(e["state"]) - 1 for e in episodes]),
    }


def stable_worldmodel(path: Path, episodes: list[Episode], old: bool = False) -> Path:
    h5py, held = pytest.importorskip("h5py"), joined(episodes, np.nan)
    lengths = np.array([len(e["state"]) for e in episodes])
    with h5py.File(path, "w") as file:
        for name, key in (("pixels", "image"), ("proprio", "state"), ("action", "action")):
            file[name] = held[key]
        file["ep_idx"] = np.repeat(np.arange(len(lengths)), lengths)
        file["step_idx"] = np.concatenate([np.arange(n) for n in lengths])
        if not old:
            file["ep_len"], file["ep_offset"] = lengths.astype(np.int32), np.cumsum(lengths) - lengths
    return path


def robomimic(path: Path, episodes: list[Episode], valid: tuple[int, ...] = ()) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": 20}})
        for i, e in enumerate(episodes):
            demo = data.create_group(f"demo_{i}")
            demo["actions"], demo["states"] = full(e["action"]), e["state"]
            demo["obs/agentview_image"] = e["image"]
            demo["obs/robot0_eye_in_hand_image"] = e["image"][:, ::-1]
            for name, part in (("eef_pos", slice(0, 2)), ("eef_quat", slice(2, 3)), ("gripper_qpos", slice(0, 1))):
                demo[f"obs/robot0_{name}"] = e["state"][:, part]
        for name, numbers in (("train", set(range(len(episodes))) - set(valid)), ("valid", valid)) if valid else ():
            file[f"mask/{name}"] = np.array([f"demo_{i}".encode() for i in sorted(numbers)])
    return path


def d4rl(path: Path, episodes: list[Episode]) -> Path:
    h5py, held = pytest.importorskip("h5py"), joined(episodes)
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = held["state"], held["action"]
        file["rewards"] = np.arange(len(held["state"]), dtype=np.float32)
        file["terminals"], file["timeouts"] = np.zeros_like(held["terminals"]), held["terminals"]
        file["infos/qpos"], file["infos/qvel"] = held["state"][:, :2], held["state"][:, 2:]
        file["metadata/algorithm"] = b"a word"
    return path


def ogbench(path: Path, episodes: list[Episode], visual: bool = False) -> Path:
    held = joined(episodes)
    np.savez_compressed(
        path, observations=held["image" if visual else "state"], actions=held["action"], terminals=held["terminals"],
        qpos=held["state"][:, :2], qvel=held["state"][:, 2:],
    )  # fmt: skip
    return path


def minari(path: Path, episodes: list[Episode]) -> Path:
    h5py, folder = pytest.importorskip("h5py"), path / "data"
    folder.mkdir(parents=True)
    told = {"total_episodes": len(episodes), "data_format": "hdf5", "minari_version": "0.5.3"}
    (folder / "metadata.json").write_text(json.dumps(told))
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for i, e in enumerate(episodes):
            group = file.create_group(f"episode_{i}")
            group["observations/observation"], group["observations/achieved_goal"] = e["state"], e["state"][:, :2]
            group["actions"], group["rewards"] = e["action"], np.arange(1, len(e["state"]), dtype=np.float32)
            group["infos"] = np.array([b"{}"] * len(e["state"]))
    return path


def replay(path: Path, episodes: list[Episode]) -> Path:
    zarr, held = pytest.importorskip("zarr"), joined(episodes)
    root = zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in (
        ("img", held["image"].astype(np.float32)),
        ("state", held["state"]),
        ("action", held["action"]),
    ):
        root.create_array(f"data/{name}", data=values, chunks=(5, *values.shape[1:]))
    root.create_array("meta/episode_ends", data=np.cumsum([len(e["state"]) for e in episodes]))
    return path


def frames(path: Path, episodes: list[Episode]) -> Path:
    from PIL import Image

    for i, e in enumerate(episodes):
        folder = path / f"episode_{i}"
        folder.mkdir(parents=True)
        rows = ["time,action_x,action_y,state_0,state_1,state_2"]
        for t, state in enumerate(e["state"].tolist()):
            Image.fromarray(e["image"][t]).save(folder / f"frame_{t}.png")
            action = map(repr, e["action"][t].tolist()) if t < len(e["action"]) else ("", "")
            rows.append(",".join((f"{t / 5}", *action, *map(repr, state))))
        (folder / "steps.csv").write_text("\n".join(rows) + "\n")
    return path


def table(path: Path, episodes: list[Episode], first: int = 0) -> Path:
    pa, pq, held = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet"), joined(episodes)
    lengths = [len(e["state"]) for e in episodes]
    columns = {
        "episode": np.repeat(np.arange(first, first + len(lengths)), lengths),
        "step": np.concatenate([*map(np.arange, lengths)]),
        "observation": held["state"].tolist(), "action": held["action"].tolist(), "reward": held["state"][:, 0],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return path


def video(path: Path, image: np.ndarray, rate: int) -> None:
    """An H.264 video of frames [T, h, w, 3]."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"crf": "1", "g": "2"})
        stream.height, stream.width, stream.pix_fmt = *image.shape[1:3], "yuv420p"
        for frame in image:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


CAMERAS = ("observation.images.top", "observation.images.wrist")


def lerobot(path: Path, episodes: list[Episode], version: int, rate: int = 10) -> Path:
    """Version 2 with a file for each episode, version 3 with all episodes in one file; two cameras."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data = {2: "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            3: "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"}[version]  # fmt: skip
    films = {2: "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
             3: "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"}[version]  # fmt: skip
    features = {
        camera: {"dtype": "video", "shape": [16, 16, 3], "names": ["height", "width", "channel"]} for camera in CAMERAS
    }
    features["observation.state"] = {"dtype": "float32", "shape": [3], "names": {"motors": ["hip", "knee", "foot"]}}
    features["action"] = {"dtype": "float32", "shape": [2], "names": ["left", "right"]}
    features["task_index"] = {"dtype": "int64", "shape": [1], "names": None}
    told = {"codebase_version": {2: "v2.1", 3: "v3.0"}[version], "fps": rate, "chunks_size": 1000,
            "total_episodes": len(episodes), "data_path": data, "video_path": films, "features": features,
            "splits": {"train": f"0:{len(episodes)}"}}  # fmt: skip
    (path / "meta").mkdir(parents=True)
    (path / "meta" / "info.json").write_text(json.dumps(told))
    tables, index, start = [], [], 0
    for i, e in enumerate(episodes):
        length = len(e["state"])
        tables.append(pa.table({
            "observation.state": e["state"].tolist(), "action": full(e["action"]).tolist(), "task_index": [0] * length,
            "timestamp": np.arange(length) / rate, "frame_index": np.arange(length), "episode_index": [i] * length,
        }))  # fmt: skip
        places = {
            f"{part}/{name}_index": 0
            for part in ("data", *(f"videos/{c}" for c in CAMERAS))
            for name in ("chunk", "file")
        }
        times = {f"videos/{camera}/from_timestamp": start / rate for camera in CAMERAS}
        index.append({"episode_index": i, "length": length, "tasks": ["walk"], **places, **times})
        start += length
    shown = {CAMERAS[0]: [e["image"] for e in episodes], CAMERAS[1]: [255 - e["image"] for e in episodes]}
    if version == 2:
        lines = [
            json.dumps({"episode_index": row["episode_index"], "tasks": ["walk"], "length": row["length"]})
            for row in index
        ]
        (path / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
        for i, rows in enumerate(tables):
            file = path / data.format(episode_chunk=0, episode_index=i)
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, file)
            for camera in CAMERAS:
                video(path / films.format(episode_chunk=0, episode_index=i, video_key=camera), shown[camera][i], rate)
        return path
    for file, rows in (
        (path / data, pa.concat_tables(tables)),
        (path / "meta/episodes" / data[5:], pa.Table.from_pylist(index)),
    ):
        named = Path(str(file).format(chunk_index=0, file_index=0))
        named.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, named, row_group_size=8)
    for camera in CAMERAS:
        named = films.format(chunk_index=0, file_index=0, video_key=camera)
        video(path / named, np.concatenate(shown[camera]), rate)
    return path


def same(read: Episode, truth: Episode, last: int = 1, pixels: int = 0) -> None:
    """What was read is the truth; `last` actions more than steps were given."""
    length = len(truth["state"])
    assert len(read["action"]) == length - 1 + last
    np.testing.assert_array_equal(read["action"][: length - 1], truth["action"])
    if "image" in read:
        assert read["image"].dtype == np.uint8 and read["image"].shape == truth["image"].shape
        assert np.abs(read["image"].astype(int) - truth["image"].astype(int)).max() <= pixels
