"""`armillary doctor`: what this machine can do, what is broken, and how to mend it.

Nothing that may be broken is imported here: torch and the optional packages are tried in processes of their own.
"""

from __future__ import annotations

import ast
import ctypes.util
import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path

import tyro

from .. import __version__
from . import screen

CORE = ("torch", "numpy", "pydantic", "tyro", "rich", "safetensors", "pillow", "matplotlib", "gymnasium", "jaxtyping")
OPTIONAL = {  # what is imported: (distribution, the extra that brings it; "" for packages that others bring)
    "pyarrow": ("pyarrow", "data"),
    "pygame": ("pygame-ce", "envs"),
    "mujoco": ("mujoco", "envs"),
    "dm_control": ("dm-control", "envs"),
    "tensorboard": ("tensorboard", "tracking"),
    "torchvision": ("torchvision", ""),
    "torchaudio": ("torchaudio", ""),
    "torchcodec": ("torchcodec", ""),
}
TORCH = """
import json, torch
cpu = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"threads": torch.get_num_threads(), "bf16_cpu": bool(cpu), "gpus": gpus,
                  "bf16_gpu": bool(gpus) and torch.cuda.is_bf16_supported()}))
"""
SMALL_DISK = 5e9  # bytes: data sets, environments and checkpoints need room


@dataclass(frozen=True)
class Doctor:
    """Flags of `doctor`."""

    json: bool = False
    """print as JSON"""


@dataclass(frozen=True)
class Package:
    """An optional package: state is "ok", "absent" or "broken: why"; advice says how to get or mend it."""

    name: str
    version: str
    state: str
    advice: str


def main(arguments: list[str]) -> int:
    """Show versions, threads, bf16, GPU and broken packages, and how to mend them."""
    flags = tyro.cli(Doctor, args=arguments, prog="armillary doctor", config=(tyro.conf.FlagCreatePairsOff,))
    with screen.err.status("importing what is installed, each in a process of its own"):
        found = examination()
    if flags.json:
        screen.as_json(found)
    else:
        _show(found)
    return 1 if found["problems"] else 0


def examination() -> dict:
    """Versions, what torch says of the machine, optional packages, rendering, disk, and problems in whole sentences."""
    with ThreadPoolExecutor(2) as pool:
        torch_says = pool.submit(_run, TORCH)
        packages = list(pool.map(_package, OPTIONAL))
        worked, text = torch_says.result()
    disk = shutil.disk_usage(Path.cwd())
    broken = [package for package in packages if package.state.startswith("broken")]
    problems = [f"{p.name} is {p.state}. {p.advice}" for p in broken]
    if not worked:
        problems.insert(0, f"torch is broken: {text}. Install it again: pip install --force-reinstall torch")
    if disk.free < SMALL_DISK:
        problems.append(f"disk: {screen.size(disk.free)} are left in {Path.cwd()}. Free some space")
    return {
        "versions": {"armillary": __version__, "python": platform.python_version(), **{n: _version(n) for n in CORE}},
        "machine": {
            "system": platform.platform(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            **(json.loads(text) if worked else {}),
        },
        "packages": [asdict(package) for package in packages],
        "rendering": _rendering(),
        "disk": {"free": disk.free, "total": disk.total},
        "problems": problems,
    }


def _run(code: str) -> tuple[bool, str]:
    """Whether a piece of Python runs in a fresh interpreter; what it printed, or the last line of its error."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        return False, "importing it takes more than 3 minutes"
    if done.returncode == 0:
        return True, done.stdout.strip()
    lines = done.stderr.strip().splitlines()
    return False, lines[-1].strip() if lines else f"importing it ends the interpreter (status {done.returncode})"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _package(name: str) -> Package:
    """Import one optional package; where that fails, say why and what to do."""
    distribution, extra = OPTIONAL[name]
    install = f"pip install 'armillary[{extra}]'" if extra else "armillary does not use it"
    if util.find_spec(name) is None:
        return Package(name, "", "absent", install)
    version = _build(name) or _version(distribution)
    worked, reason = _run(f"import {name}")
    if worked:
        return Package(name, version, "ok", "")
    if extra:
        advice = f"Install it again: pip install --force-reinstall {distribution}"
        return Package(name, version, f"broken: {reason}", advice)
    ours, theirs = _tag(_build("torch")), _tag(version)
    if ours != theirs:
        reason = f"it is built for {theirs or 'another torch'} and torch for {ours or 'another platform'} ({reason})"
    advice = (
        f"Other packages import {name} if it is there and then fail: pip uninstall {distribution}, or install the "
        "build that belongs to your torch, from the package index that your torch came from"
    )
    return Package(name, version, f"broken: {reason}", advice)


def _build(name: str) -> str:
    """`__version__` in the package's version.py, with its build tag (2.13.0+cpu), read without importing it."""
    spec = util.find_spec(name)
    path = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if path is None or not path.is_file():
        return ""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__":
            return node.value.value if isinstance(node.value, ast.Constant) else ""  # type: ignore[return-value]
    return ""


def _tag(version: str) -> str:
    return version.partition("+")[2]


def _rendering() -> dict[str, str]:
    """How MuJoCo's worlds can be drawn here without a screen."""
    chosen = os.environ.get("MUJOCO_GL", "")
    able = [name for name, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if ctypes.util.find_library(library)]
    if chosen in able or (not chosen and os.environ.get("DISPLAY")):
        advice = ""
    elif able:
        advice = f"export MUJOCO_GL={able[0]}"
    else:
        advice = "install EGL or OSMesa (Debian: libegl1 or libosmesa6), then export MUJOCO_GL=egl or osmesa"
    return {"MUJOCO_GL": chosen, "available": ", ".join(able), "advice": advice}


def _show(found: dict) -> None:
    machine, rendering, disk = found["machine"], found["rendering"], found["disk"]
    bf16 = "on the GPU" if machine.get("bf16_gpu") else "on the CPU" if machine.get("bf16_cpu") else "slower than fp32"
    screen.table("Versions", ["", ""], found["versions"].items())
    rows = [
        ("system", machine["system"]),
        ("cores, threads of torch", f"{machine['cores']}, {machine.get('threads', 'unknown')}"),
        ("bf16", bf16),
        ("GPU", ", ".join(machine.get("gpus", [])) or "none that torch can use"),
        ("drawing MuJoCo", rendering["advice"] or f"ready ({rendering['MUJOCO_GL'] or 'on the screen'})"),
        ("disk", f"{screen.size(disk['free'])} free of {screen.size(disk['total'])}"),
    ]
    screen.table("Machine", ["", ""], rows)
    rows = [(p["name"], p["version"], p["state"].partition(":")[0], p["advice"]) for p in found["packages"]]
    screen.table("Optional packages", ["package", "version", "state", "what to do"], rows)
    for problem in found["problems"]:
        screen.error(problem)
    if not found["problems"]:
        screen.say("Nothing is broken.", "green")
