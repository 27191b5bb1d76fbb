"""Runs that are killed at any moment continue to the same result."""

import json
import signal
import subprocess
import time
from pathlib import Path

from runs import ENVIRONMENT, STUDY, command, process, study, write_config

RUNS = ("dense-seed0", "lth-0.8-seed0", "ballot-0.8-seed0", "ballot-2-0.8-seed0")


def kill_after(files: int, config: Path, out: Path) -> None:
    """Start the run and kill it as soon as so many stage files are there."""
    started = subprocess.Popen(
        command("run", config, "--out", out),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(list(out.glob("stages/*.safetensors"))) < files:
        assert started.poll() is None, "the run ended before it was killed"
        time.sleep(0.002)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL


def results(out: Path) -> dict[str, object]:
    """Everything of the records but what it took."""
    found = {}
    for name in RUNS:
        record = json.loads((out / name / "record.json").read_text())
        assert record.pop("timings")["total"] > 0
        record.pop("memory")
        found[name] = record
    return found


def test_two_kills_change_nothing(tmp_path: Path) -> None:
    config, out = write_config(tmp_path / "study.yaml", STUDY), tmp_path / "out"
    kill_after(3, config, out)
    assert not (out / "report.html").exists()
    # what kill -9 leaves when it strikes within a write
    left = [out / ".config.yaml.x.tmp", out / "stages" / ".half.safetensors.y.tmp"]
    for path in left:
        path.write_bytes(b"\x00")
    kill_after(8, config, out)
    ended = process("run", config, "--out", out)
    assert ended.code == 0, ended.err
    reference, printed = study()
    assert results(out) == results(reference)
    assert ended.out.replace(str(tmp_path), "") == printed.out.replace(str(reference.parent), "")
    for name in RUNS:
        for file in ("config.yaml", "dense.safetensors", "sparse.safetensors"):
            path = f"{name}/{file}"
            assert (out / path).read_bytes() == (reference / path).read_bytes(), path
    assert not list(out.rglob("*.tmp"))
