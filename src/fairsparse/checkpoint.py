"""Tensors on disk: safetensors with a digest, written whole or not at all, never unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fairsparse.core import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

AGAIN = "restore it, or delete it and run again"
"""What to do about a file of ours that is not what was written."""
_MOST_HEADER = 100_000_000  # bytes; safetensors reads no longer one


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a directory against other processes, where the system has such locks.

    `InputError` where another one writes there. The lock ends with its process, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if handle is not None:
            _lock(handle, folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{folder}: another process is writing there; wait for it, or choose another --out"
        ) from None
    except OSError:  # some network file systems lock no directories
        pass


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
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        expected, _, text = header["__metadata__"]["fairsparse"].partition(" ")
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _incomplete(path) from None
    if digest(tensors, text) != expected:
        raise InputError(f"{path}: the content does not match its checksum; {AGAIN}")
    return tensors, json.loads(text)


def read_meta(path: Path) -> Any:
    """The `meta` of what `write_tensors` wrote, without its tensors, whose digest is not checked.

    Raises
    ------
    InputError
        When the file is missing, truncated, or not one of ours.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, _MOST_HEADER)))
        return json.loads(header["__metadata__"]["fairsparse"].partition(" ")[2])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _incomplete(path) from None


def _incomplete(path: Path) -> InputError:
    return InputError(
        f"{path}: not a complete fairsparse checkpoint (truncated or of another program); {AGAIN}"
    )


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
        """Return the tensors and meta of a finished stage, or None.

        A file that was stored under another key is an `InputError`.
        """
        if self.folder is None:
            return None
        path = self.folder / f"{key}.safetensors"
        if not path.exists():
            return None
        tensors, meta = read_tensors(path)
        if not isinstance(meta, dict) or meta.get("stage") != key:
            raise InputError(f"{path}: is another stage than its name says; {AGAIN}")
        return tensors, meta["meta"]

    def save(self, key: str, tensors: Mapping[str, Tensor], meta: Any) -> None:
        """Store a finished stage."""
        if self.folder is not None:
            path = self.folder / f"{key}.safetensors"
            write_tensors(path, tensors, {"stage": key, "meta": meta})
