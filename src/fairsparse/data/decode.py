"""Image files to one uint8 tensor."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fairsparse.types import InputError


def load_images(
    name: str, files: Sequence[Path], size: int | None = None, grayscale: bool = False
) -> Tensor:
    """Decode image files, in order.

    Parameters
    ----------
    name : str
        The data set, for error messages.
    files : sequence of Path
    size : int, optional
        Resize to ``size x size``; without it all images must have one size.
    grayscale : bool
        One channel instead of three.

    Returns
    -------
    Tensor of uint8, shape (N, 1 or 3, H, W)

    Raises
    ------
    InputError
        Naming the file that is missing, unreadable or deeper than 8 bits, or the first two files
        whose sizes differ.
    """
    first = decode(name, files[0], size, grayscale)
    out = np.empty((len(files), *first.shape), dtype=np.uint8)

    def fill(i: int) -> None:
        image = decode(name, files[i], size, grayscale)
        same_size(name, files[0], first, files[i], image)
        out[i] = image

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(files))):  # the first error in file order is raised
            pass
    return torch.from_numpy(out)


Pixels = npt.NDArray[np.uint8]


def same_size(name: str, first: Path, one: Pixels, second: Path, other: Pixels) -> None:
    """Raise `InputError` unless two decoded images agree in size."""
    if one.shape != other.shape:
        sizes = [f"{a.shape[2]}x{a.shape[1]}" for a in (one, other)]
        raise InputError(
            f"{name}: images differ in size: {first} is {sizes[0]}, {second} is {sizes[1]}; set"
            " size to resize all"
        )


def decode(name: str, path: Path, size: int | None, grayscale: bool) -> Pixels:
    """Decode one file to uint8 of shape (1 or 3, H, W); raises as `load_images` does."""
    try:
        with Image.open(path) as file:
            # Pillow would clip these to 255 without a word.
            if file.mode[0] in "IF":
                raise InputError(
                    f"{name}: {path} has pixels deeper than 8 bits (mode {file.mode}); convert it"
                    " to an 8-bit image"
                )
            image = file.convert("L" if grayscale else "RGB")
    except FileNotFoundError:
        raise InputError(f"{name}: image {path} does not exist; correct its name") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name}: image {path} cannot be decoded ({error}); replace it or leave it out"
        ) from error
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[None] if grayscale else array.transpose(2, 0, 1)
