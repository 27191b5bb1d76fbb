"""Recorded results: a line of JSON for each run, one JSON file for each measurement."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


def key(task: str, config: dict[str, Any]) -> str:
    """Text that identifies a run by all that determines it."""
    return json.dumps([task, config], sort_keys=True)


def finished(file: str) -> dict[str, dict[str, Any]]:
    """Recorded runs by their key."""
    path = FOLDER / file
    lines = path.read_text().splitlines() if path.exists() else []
    runs = [json.loads(line) for line in lines]
    return {key(run["task"], run["config"]): run for run in runs}


def append(file: str, run: dict[str, Any]) -> None:
    """Add one run to a file of results; writers of several processes take turns."""
    with (FOLDER / file).open("a") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        out.write(json.dumps(run, sort_keys=True) + "\n")


def load(name: str) -> dict[str, Any]:
    """What was stored of a measurement; nothing where there is no file."""
    path = FOLDER / f"{name}.json"
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return stored


def store(name: str, values: dict[str, Any], sort_keys: bool = False) -> None:
    """Replace what is stored of a measurement."""
    (FOLDER / f"{name}.json").write_text(json.dumps(values, indent=2, sort_keys=sort_keys) + "\n")
