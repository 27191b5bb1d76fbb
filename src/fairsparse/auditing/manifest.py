"""What an audit was made from, by SHA-256: predictions, weights, data and configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairsparse._version import __version__
from fairsparse.auditing.examples import Settings
from fairsparse.core import InputError

FORMAT = "fairsparse-manifest/1"
_RUN = ("config.yaml", "record.json", "predictions.npz", "dense.safetensors", "sparse.safetensors")
"""What of a run's directory an audit, or who repeats it, reads."""


def digests(inputs: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    """The manifest of an audit; its paths are as they were given.

    Parameters
    ----------
    inputs : mapping of str to str
        Role or name -> file, run directory (perhaps with ``:dense``), or ``module:factory`` with
        its weights after ``@``.

    Raises
    ------
    InputError
        When a file cannot be read.
    """
    asked = asdict(settings)
    text = json.dumps(asked, sort_keys=True).encode()
    return {
        "format": FORMAT,
        "fairsparse": __version__,
        "inputs": [
            {"role": role, "given": given, "files": [_file(path) for path in _files(given)]}
            for role, given in inputs.items()
        ],
        "settings": {"sha256": hashlib.sha256(text).hexdigest(), "values": asked},
    }


def _files(given: str) -> Iterator[Path]:
    """The files that stand behind what was given; a module of Python has none but its weights."""
    path = Path(given)
    folder = path if path.exists() else Path(given.removesuffix(":dense"))
    if folder.is_dir():
        yield from (folder / name for name in _RUN if (folder / name).is_file())
    elif path.is_file():
        yield path
    elif "@" in given:
        yield Path(given.partition("@")[2])


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"path": path.as_posix(), "bytes": path.stat().st_size, "sha256": digest}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it and audit again") from None
