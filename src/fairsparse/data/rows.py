"""Images that stay on disk: decoded once into a file of rows, or whenever a batch needs them."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from fairsparse.data.decode import decode, load_images, same_size
from fairsparse.types import InputError

T = TypeVar("T")
_CHUNK = 512


class Rows(Dataset[Tensor]):
    """Inputs of one shape that are read by number; memory holds what was read last.

    Attributes
    ----------
    shape : tuple of int
        Of one input, ``(channels, H, W)``.
    """

    shape: tuple[int, ...]

    def rows(self, index: Tensor) -> Tensor:
        """Return the inputs at `index` (int64, shape (B,)), uint8 of shape (B, *shape)."""
        raise NotImplementedError

    def select(self, index: Tensor) -> Rows:
        """Return the inputs at `index` as rows of their own."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, i: int) -> Tensor:
        return self.rows(torch.tensor([i]))[0]


class Stored(Rows):
    """Rows of a file that holds one uint8 array after another.

    They are read, not mapped: mapped pages would count as the process's memory.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], index: Tensor) -> None:
        self.path, self.shape, self.index = path, shape, index

    def __len__(self) -> int:
        return len(self.index)

    def select(self, index: Tensor) -> Stored:
        return Stored(self.path, self.shape, self.index[index])

    def rows(self, index: Tensor) -> Tensor:
        at = self.index[index].tolist()
        out = torch.empty((len(at), *self.shape), dtype=torch.uint8)
        size = math.prod(self.shape)
        view = memoryview(out.numpy().reshape(-1)).cast("B")  # type: ignore[arg-type]
        with self.path.open("rb", buffering=0) as file:
            for place, number in enumerate(at):
                file.seek(number * size)
                got = file.readinto(view[place * size : (place + 1) * size])
                if got != size:
                    raise InputError(
                        f"{self.path} ends before image {number}; remove it, so that it is made"
                        " again"
                    )
        return out


class Streamed(Rows):
    """Rows that are decoded from their image files each time they are read."""

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        size: int | None,
        grayscale: bool,
        index: Tensor,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.name, self.files, self.size, self.grayscale = name, files, size, grayscale
        self.index = index
        self.shape = shape or decode(name, files[int(index[0])], size, grayscale).shape

    def __len__(self) -> int:
        return len(self.index)

    def select(self, index: Tensor) -> Streamed:
        how = (self.name, self.files, self.size, self.grayscale)
        return Streamed(*how, self.index[index], self.shape)

    def rows(self, index: Tensor) -> Tensor:
        files = [self.files[i] for i in self.index[index].tolist()]
        return load_images(self.name, files, self.size, self.grayscale)


def stored_images(
    name: str, files: Sequence[Path], folder: Path, size: int | None, grayscale: bool
) -> Stored:
    """Decode all image files into one file in `folder`, or find the one made before.

    Its name holds a digest of what all the files contain, so changed images are decoded anew. An
    interrupted decoding goes on where it stopped, and processes that want the same file wait for
    the one that makes it.

    Raises
    ------
    InputError
        As `load_images` does, or when the folder cannot be written.
    """
    first = decode(name, files[0], size, grayscale)
    row = math.prod(first.shape)
    key = _digest(name, files, f"{size} {grayscale}")
    target = folder / f"{name}-{'x'.join(map(str, first.shape))}-{key}.rows"
    part = target.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            with part.open("ab") as file, _alone(file):
                if not target.exists():
                    _fill(name, files, file, first, size, grayscale)
                    part.rename(target)
    except OSError as error:
        raise InputError(
            f"{name}: {target} cannot be written ({error.strerror}); it takes"
            f" {row * len(files) / 2**30:.2f} GiB: free space, or set cache to another folder"
        ) from error
    return Stored(target, first.shape, torch.arange(len(files)))


def _fill(
    name: str,
    files: Sequence[Path],
    file: IO[bytes],
    first: np.ndarray[Any, Any],
    size: int | None,
    grayscale: bool,
) -> None:
    row = math.prod(first.shape)
    done = file.tell() // row  # a row that was cut off is written again
    file.truncate(done * row)

    def one(path: Path) -> bytes:
        image = decode(name, path, size, grayscale)
        same_size(name, files[0], first, path, image)
        return image.tobytes()

    for image in _track(_parallel(one, files[done:]), f"{name}: decoding", len(files) - done):
        file.write(image)
    file.flush()
    os.fsync(file.fileno())


def _digest(name: str, files: Sequence[Path], options: str) -> str:
    """Of the files' content, in their order."""

    def one(path: Path) -> bytes:
        try:
            return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        except OSError as error:
            raise InputError(
                f"{name}: image {path} cannot be read ({error.strerror}); correct its name"
            ) from error

    whole = hashlib.blake2b(options.encode(), digest_size=8)
    for digest in _track(_parallel(one, files), f"{name}: looking for changes", len(files)):
        whole.update(digest)
    return whole.hexdigest()


def undecodable(name: str, files: Sequence[Path], size: int | None, grayscale: bool) -> list[int]:
    """Return the positions of the files that `load_images` would refuse, whatever their size."""

    def bad(path: Path) -> bool:
        try:
            decode(name, path, size, grayscale)
        except InputError:
            return True
        return False

    found = _track(_parallel(bad, files), f"{name}: checking", len(files))
    return [i for i, is_bad in enumerate(found) if is_bad]


def _parallel(work: Callable[[Path], T], files: Sequence[Path]) -> Iterator[T]:
    """Results in the files' order; few are held at once."""
    with ThreadPoolExecutor() as pool:
        for at in range(0, len(files), _CHUNK):
            yield from pool.map(work, files[at : at + _CHUNK])


def _track(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """Show a bar, where somebody watches and it takes long enough to be seen."""
    quiet = not sys.stderr.isatty() or total < 2000
    return track(items, what, total, console=Console(stderr=True), transient=True, disable=quiet)


@contextmanager
def _alone(file: IO[bytes]) -> Iterator[None]:
    """Hold the file against other processes, where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0, os.SEEK_END)
    yield
