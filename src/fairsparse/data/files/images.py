"""Image files to uint8 inputs: in memory, in a file that keeps them, or batch by batch."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field
from rich.console import Console
from rich.progress import track
from torch import Tensor

from fairsparse.core import InputError
from fairsparse.data.files.rows import Rows, Stored

T = TypeVar("T")
Pixels = npt.NDArray[np.uint8]
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What is opened, whatever a file is called; others could start programs, as PostScript does."""
_CHUNK = 512
_MOST_PIXELS = 2**26
_one_at_a_time = threading.Lock()  # large images, which many threads would hold at once


@dataclass(frozen=True)
class ImageFiles:
    """How image files become inputs.

    Parameters
    ----------
    size : int, optional
        Resize to ``size x size``.
    grayscale : bool
        One channel instead of three.
    cache : Path, optional
        Folder in which to keep the decoded images, so that they are decoded once and take no
        memory; they are decoded anew when a file changes.
    stream : bool
        Decode each batch when it is needed, and keep nothing.
    skip_bad_images : bool
        Leave out images that do not decode, and count them in the notes, instead of stopping.
    """

    size: Annotated[int, Field(ge=1)] | None = None
    grayscale: bool = False
    cache: Path | None = None
    stream: bool = False
    skip_bad_images: bool = False

    def __post_init__(self) -> None:
        if self.cache is not None and self.stream:
            raise InputError("cache keeps decoded images and stream keeps none; set one of them")

    def read(self, name: str, files: Sequence[Path], order: npt.NDArray[np.int64]) -> Tensor | Rows:
        """Return the images at `order`: in memory, in a file of `cache`, or to be streamed."""
        decode = Decoder(name, self)
        if self.cache is not None:
            return stored_images(decode, files, self.cache).select(torch.from_numpy(order))
        if self.stream:
            return Streamed(decode, files, torch.from_numpy(order))
        return load_images(decode, [files[i] for i in order])


@dataclass(frozen=True)
class Decoder:
    """Decodes an image file of the data set `name` to uint8 of shape (1 or 3, H, W)."""

    name: str
    images: ImageFiles = ImageFiles()

    def __call__(self, path: Path) -> Pixels:
        """Raise `InputError` for a file that is missing, damaged, huge, or deeper than 8 bits."""
        grayscale, size = self.images.grayscale, self.images.size
        with self._opened(path) as file:
            large = file.width * file.height > _MOST_PIXELS // 4
            with _one_at_a_time if large else nullcontext():
                image = file.convert("L" if grayscale else "RGB")
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        array = np.asarray(image)
        return array[None] if grayscale else array.transpose(2, 0, 1)

    def shape(self, files: Sequence[Path]) -> tuple[int, int, int]:
        """The shape (1 or 3, H, W) of all decoded images, which their headers tell.

        `InputError` names the first two files whose sizes differ.
        """
        channels, size = 1 if self.images.grayscale else 3, self.images.size
        if size is not None:
            return channels, size, size
        first, *others = _track(
            _parallel(self._size, files), f"{self.name}: comparing sizes", len(files)
        )
        for path, other in zip(files[1:], others, strict=True):
            if other != first:
                sizes = [f"{width}x{height}" for width, height in (first, other)]
                raise InputError(
                    f"{self.name}: images differ in size: {files[0]} is {sizes[0]}, {path} is"
                    f" {sizes[1]}; set size to resize all"
                )
        return channels, first[1], first[0]

    def _size(self, path: Path) -> tuple[int, int]:
        with self._opened(path, None) as file:
            return file.size

    @contextmanager
    def _opened(self, path: Path, most: int | None = _MOST_PIXELS) -> Iterator[Image.Image]:
        """An image of at most so many pixels, of which only the header has been read."""
        try:
            with Image.open(path, formats=FORMATS) as file:
                pixels = file.width * file.height
                if most is not None and pixels > most:
                    raise InputError(
                        f"{self.name}: {path} has {pixels:,} pixels, and at most {most:,} are"
                        " decoded; make it smaller, or leave it out"
                    )
                # Pillow would clip these to 255 without a word.
                if file.mode[0] in "IF":
                    raise InputError(
                        f"{self.name}: {path} has pixels deeper than 8 bits (mode {file.mode});"
                        " convert it to an 8-bit image"
                    )
                yield file
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(
                f"{self.name}: image {path} does not exist; correct its name"
            ) from None
        except Exception as error:  # a damaged or hostile file can make Pillow raise anything
            raise InputError(
                f"{self.name}: image {path} cannot be decoded ({error}); replace it by a"
                f" {', '.join(FORMATS)} file or leave it out"
            ) from error


def load_images(decode: Decoder, files: Sequence[Path]) -> Tensor:
    """Decode image files into memory, in order: uint8 of shape (N, 1 or 3, H, W).

    An `InputError` is the decoder's. Sizes are compared before anything is decoded.
    """
    out = np.empty((len(files), *decode.shape(files)), dtype=np.uint8)
    for i, image in enumerate(_parallel(decode, files)):
        out[i] = image
    return torch.from_numpy(out)


class Streamed(Rows):
    """Rows that are decoded from their image files each time they are read."""

    def __init__(self, decode: Decoder, files: Sequence[Path], index: Tensor) -> None:
        super().__init__(decode.shape([files[int(index[0])]]), index)
        self.decode, self.files = decode, files

    def rows(self, index: Tensor) -> Tensor:
        return load_images(self.decode, [self.files[i] for i in self.index[index].tolist()])


def stored_images(decode: Decoder, files: Sequence[Path], folder: Path) -> Stored:
    """Decode all image files into one file in `folder`, or find the one made before.

    Its name holds a digest of what all the files contain, so changed images are decoded anew. An
    interrupted decoding goes on where it stopped, and processes that want the same file wait for
    the one that makes it. A folder that cannot be written is an `InputError`.
    """
    shape = decode.shape(files)
    sides = "x".join(map(str, shape))
    target = folder / f"{decode.name}-{sides}-{_digest(decode, files)}.rows"
    part = target.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            with part.open("ab") as file, _alone(file):
                if not target.exists():
                    _fill(file, decode, files, math.prod(shape))
                    part.rename(target)
    except OSError as error:
        raise InputError(
            f"{decode.name}: {target} cannot be written ({error.strerror}); it takes"
            f" {math.prod(shape) * len(files) / 2**30:.2f} GiB: free space, or set cache to another"
            " folder"
        ) from error
    return Stored(target, shape, len(files))


def _fill(file: IO[bytes], decode: Decoder, files: Sequence[Path], size: int) -> None:
    done = file.tell() // size  # a row that was cut off is written again
    file.truncate(done * size)
    images = _parallel(decode, files[done:])
    for image in _track(images, f"{decode.name}: decoding", len(files) - done):
        file.write(image.tobytes())
    file.flush()
    os.fsync(file.fileno())


def _digest(decode: Decoder, files: Sequence[Path]) -> str:
    """Of the files' content, in their order."""

    def one(path: Path) -> bytes:
        try:
            return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        except OSError as error:
            raise InputError(
                f"{decode.name}: image {path} cannot be read ({error.strerror}); correct its name"
            ) from error

    settings = f"{decode.images.size} {decode.images.grayscale}"
    whole = hashlib.blake2b(settings.encode(), digest_size=8)
    digests = _parallel(one, files)
    for digest in _track(digests, f"{decode.name}: looking for changes", len(files)):
        whole.update(digest)
    return whole.hexdigest()


def undecodable(decode: Decoder, files: Sequence[Path]) -> list[int]:
    """Return the positions of the files that `load_images` would refuse, whatever their size."""

    def bad(path: Path) -> bool:
        try:
            decode(path)
        except InputError:
            return True
        return False

    checks = _track(_parallel(bad, files), f"{decode.name}: checking", len(files))
    return [i for i, is_bad in enumerate(checks) if is_bad]


def _parallel(work: Callable[[Path], T], files: Sequence[Path]) -> Iterator[T]:
    """Results, and errors, in the files' order; few are held at once."""
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


def pixels(image: Tensor) -> np.ndarray:
    """An image (channels, H, W) as uint8 (H, W, 3), whatever numbers it is stored as.

    Bytes are taken as they are, unless they are of few levels; other numbers are stretched.

    >>> pixels(torch.tensor([[[-1.0, 1.0]]])).tolist(), pixels(torch.tensor([[[0, 16]]])).tolist()
    ([[[0, 0, 0], [255, 255, 255]]], [[[0, 0, 0], [255, 255, 255]]])
    """
    bytes_ = image.dtype == torch.uint8
    values = image.float()
    if values.shape[0] not in (1, 3):
        values = values.mean(0, keepdim=True)
    values = values.expand(3, -1, -1).permute(1, 2, 0)
    if not (bytes_ and int(image.max()) >= 64):
        low = 0 if bytes_ else values.min()
        values = 255 * (values - low) / (values.max() - low).clamp_min(1e-12)
    return values.round().to(torch.uint8).numpy()
