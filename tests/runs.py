"""The command line as a process and in this one, and finished runs that tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from fairsparse.cli import program

# on such small tensors a second thread costs more than it brings
torch.set_num_threads(1)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}

TINY: dict[str, Any] = {
    "data": {"name": "digits", "limit": 200},
    "model": {"name": "mlp", "hidden": [12]},
    "training": {"epochs": 1, "batch_size": 32},
    "methods": [{"name": "magnitude"}],
    "sparsities": [0.5],
    "resamples": 100,
}
STUDY: dict[str, Any] = {
    **TINY,
    "model": {"name": "small-cnn", "width": 4},
    "training": {"epochs": 2, "batch_size": 32, "augment": ["crop"]},
    "methods": [
        "dense",
        {"name": "lth", "levels": [0.2, 0.4, 0.5, 0.6, 0.7]},
        {"name": "ballot", "levels": [0.3, 0.6]},
        {"name": "ballot", "levels": [0.3, 0.6], "refinement": {"form": "penalty"}},
    ],
    "sparsities": [0.8],
}


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def command(*args: str | Path) -> list[str]:
    """The program's command line, run by this interpreter."""
    return [sys.executable, "-m", "fairsparse", *map(str, args)]


def process(*args: str | Path, cwd: Path | None = None) -> Ended:
    """Run the program as a process."""
    done = subprocess.run(
        command(*args), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def call(capsys: pytest.CaptureFixture[str], *args: str | Path) -> Ended:
    """Run the program's entry point in this process, for tests of many small cases."""
    argv, sys.argv = sys.argv, ["fairsparse", *map(str, args)]
    capsys.readouterr()
    try:
        with pytest.raises(SystemExit) as end:
            program.main()
    finally:
        sys.argv = argv
    return Ended(int(end.value.code or 0), *capsys.readouterr())


def write_config(path: Path, values: Any) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


@cache
def study() -> tuple[Path, Ended]:
    """Directory and output of one uninterrupted run of `STUDY` in a process; not to be changed."""
    home = Path(tempfile.mkdtemp(prefix="fairsparse-study-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    config = write_config(home / "study.yaml", STUDY)
    ended = process("run", config, "--out", home / "out")
    assert ended.code == 0, ended.err
    return home / "out", ended


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
