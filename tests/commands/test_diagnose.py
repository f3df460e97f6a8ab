"""`armillary diagnose` on files of anyone's embeddings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from armillary.cli import main


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def diagnosed(capsys, *arguments):
    status = main(["diagnose", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.fixture
def files(tmp_path):
    made = {
        "healthy": noise(300, 32),
        "constant": 1 + 0.001 * noise(300, 32),
        "flat": noise(300, 2) @ noise(2, 64, seed=1),
        "heaps": noise(5, 32)[np.arange(300) % 5] + 1e-4 * noise(300, 32, seed=1),
        "tokens": np.repeat(noise(200, 1, 16), 6, 1) + 0.001 * noise(200, 6, 16, seed=1),
    }
    for name, x in made.items():
        np.save(tmp_path / f"{name}.npy", x)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("healthy", []), ("constant", ["full"]), ("flat", ["dimensional"]), ("heaps", ["cluster"]),
     ("tokens", ["token_uniform"])],
)  # fmt: skip
def test_the_kind_of_failure_is_named(files, capsys, name, kinds):
    status, found = diagnosed(capsys, files / f"{name}.npy")
    assert found["kinds"] == kinds and status == (1 if kinds else 0)
    assert found["verdict"] == "healthy" if not kinds else found["alarms"][0]["causes"]
    assert found["measures"]["rows"] in (200, 300) and len(found["spectrum"]) > 1


def test_the_table_says_what_the_numbers_are(files, capsys):
    assert main(["diagnose", str(files / "flat.npy")]) == 1
    said = capsys.readouterr().out
    assert "participation ratio of the covariance" in said and "Dimensional collapse: 2 of 64 directions used" in said
    assert "usual causes" in said and "optim.lr" in said


def test_two_files_are_compared(files, capsys):
    np.save(files / "half.npy", noise(300, 32) * 3 * np.linspace(0, 1, 32) ** 30)
    status, found = diagnosed(capsys, "--before", files / "healthy.npy", "--after", files / "half.npy")
    assert found["kinds"] == ["dimensional"] and status == 1
    assert found["before"]["effective_rank"] > 3 * found["measures"]["effective_rank"]
    assert diagnosed(capsys, files / "half.npy")[0] == 0, "alone it is no failure"


def test_labels_tell_how_well_neighbors_agree(files, capsys):
    label = np.arange(300) % 5
    np.save(files / "label.npy", label)
    np.save(files / "split.npy", noise(5, 32)[label] + 0.5 * noise(300, 32, seed=1))
    assert diagnosed(capsys, files / "split.npy", "--labels", files / "label.npy")[1]["measures"]["neighbors"] > 0.95


def test_wrong_input_is_told(files, capsys):
    np.save(files / "nan.npy", np.where(noise(50, 4) > 2, np.nan, noise(50, 4)))
    status, found = diagnosed(capsys, files / "nan.npy")
    assert status == 1 and found["verdict"].startswith("not finite: NaN or infinity in")
    np.save(files / "one.npy", noise(1, 4))
    np.save(files / "short.npy", np.arange(7))
    for arguments, words in (
        ([files / "one.npy"], "at least 2 inputs"),
        ([files / "healthy.npy", "--labels", files / "short.npy"], "300 rows need one whole number each"),
        ([], "name one file"),
        ([files / "none.npy"], "there is no file"),
    ):
        assert main(["diagnose", *map(str, arguments)]) == 2
        assert words in capsys.readouterr().err


def test_columns_for_rows_are_suspected(files, capsys):
    np.save(files / "wide.npy", noise(32, 300))
    main(["diagnose", str(files / "wide.npy")])
    assert "transpose" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_need_not_fit_into_memory(tmp_path):
    """2 GB on the disk (a sparse file), read with far less memory of our own."""
    import subprocess
    import sys

    held = np.lib.format.open_memmap(tmp_path / "large.npy", mode="w+", dtype=np.float32, shape=(8_000_000, 64))
    held[::50_000] = noise(160, 64)
    held.flush()
    script = (
        "import sys\nfrom armillary.cli import main\n"
        "main(['diagnose', sys.argv[1], '--json'])\n"
        "print('peak', [l for l in open('/proc/self/status') if l.startswith('RssAnon')][0].split()[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "large.npy")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split("peak ")[1]) < 1_000_000, "kilobytes"
