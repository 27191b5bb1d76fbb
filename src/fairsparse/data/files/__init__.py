"""How bytes become arrays and tables; `find` says where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fairsparse.core import InputError


def find(name: str, root: Path, folders: Sequence[str], files: Sequence[str]) -> list[Path]:
    """Return `files` from the first of root's `folders` that holds all, plain or with ``.gz``.

    Where none does, an `InputError` says what was expected and where it was looked for.
    """
    for folder in folders:
        pairs = [[root / folder / (file + end) for end in ("", ".gz")] for file in files]
        paths = [next((path for path in pair if path.is_file()), None) for pair in pairs]
        if None not in paths:
            return [path for path in paths if path is not None]
    raise InputError(
        f"{name}: expected the official files {', '.join(files)} (plain or .gz) together in one of"
        f" {', '.join(str(root / folder) for folder in folders)}; set path to where they are"
    )
