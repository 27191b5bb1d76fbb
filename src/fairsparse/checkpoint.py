"""Tensors on disk: safetensors with a digest, written whole or not at all, never unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fairsparse.core import InputError


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that at any moment it is the old one, the new one, or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def digest(tensors: Mapping[str, Tensor], meta: str) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of `tensors`, and over `meta`."""
    sha = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Any) -> None:
    """Write tensors and a JSON-able `meta` as one safetensors file, atomically."""
    plain = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, t in tensors.items()
    }
    text = json.dumps(meta, sort_keys=True)
    # one entry, because safetensors writes several in random order: equal content, equal bytes
    write_bytes(path, save(plain, {"fairsparse": f"{digest(plain, text)} {text}"}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_tensors` wrote and check its digest.

    Raises
    ------
    InputError
        When the file is missing, truncated, changed, or not one of ours.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    again = "restore it, or delete it and run again"
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        expected, _, text = header["__metadata__"]["fairsparse"].partition(" ")
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: not a complete fairsparse checkpoint (truncated or of another program);"
            f" {again}"
        ) from None
    if digest(tensors, text) != expected:
        raise InputError(f"{path}: the content does not match its checksum; {again}")
    return tensors, json.loads(text)


@dataclass
class Stages:
    """Finished stages of runs, each stored atomically under the hash of all that led to it."""

    folder: Path | None
    """Where stages are kept; None keeps nothing."""

    @staticmethod
    def key(*parts: Any) -> str:
        """Hash JSON-able parts to a short name."""
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def load(self, key: str) -> tuple[dict[str, Tensor], Any] | None:
        """Return the tensors and meta of a finished stage, or None."""
        if self.folder is None:
            return None
        path = self.folder / f"{key}.safetensors"
        return read_tensors(path) if path.exists() else None

    def save(self, key: str, tensors: Mapping[str, Tensor], meta: Any) -> None:
        """Store a finished stage."""
        if self.folder is not None:
            write_tensors(self.folder / f"{key}.safetensors", tensors, meta)
