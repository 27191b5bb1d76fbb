"""Image data sets that are distributed as arrays."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from fairsparse.data.builders import DATASETS, Count, Seed, Share, terms
from fairsparse.data.generic import Labels, assemble, find, in_order
from fairsparse.data.splits import divide
from fairsparse.data.task import Task
from fairsparse.data.unpickle import read_pickle
from fairsparse.types import InputError

CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


@DATASETS.register("fashion-mnist")
def fashion_mnist(
    path: Path,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Fashion-MNIST, 70,000 images of clothes, 1x28x28 in 10 classes.

    Terms: MIT licence (Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747); no groups are recorded.

    Parameters
    ----------
    path : Path
        Folder of the four official idx files, plain or gzip; also looked for in ``path/raw`` and
        ``path/FashionMNIST/raw``.
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    files = find(
        "fashion-mnist",
        Path(path),
        ("", "raw", "FashionMNIST/raw"),
        [f"{s}-{kind}-ubyte" for s in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")],
    )
    x_train, y_train, x_test, y_test = (
        read_idx(file, n) for file, n in zip(files, (3, 1, 3, 1), strict=True)
    )
    for n_images, n_labels, file in (
        (len(x_train), len(y_train), files[1]),
        (len(x_test), len(y_test), files[3]),
    ):
        if n_images != n_labels:
            raise InputError(f"{file} has {n_labels} labels for {n_images} images; fetch it again")
    images = np.concatenate([x_train, x_test])[:, None]
    labels = Labels.without_groups(np.concatenate([y_train, y_test]), CLOTHES)
    given = np.repeat(["train", "test"], [len(y_train), len(y_test)])
    parts = divide(labels.y, labels.group, cal=cal, val=val, given=given, limit=limit, seed=seed)
    x = torch.from_numpy(images[in_order(parts)])
    return assemble("fashion-mnist", x, labels, parts, terms(fashion_mnist))


@DATASETS.register("cifar-100")
def cifar_100(
    path: Path,
    labels: Literal["fine", "coarse"] = "fine",
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """CIFAR-100, 60,000 photographs of 3x32x32 in 100 fine or 20 coarse classes.

    Terms: no formal licence, distributed for research (Krizhevsky, 2009); drawn from the 80
    Million Tiny Images, which were withdrawn; no groups are recorded.

    Parameters
    ----------
    path : Path
        Folder of the official python pickles ``train``, ``test`` and ``meta``, or the folder that
        holds it as ``cifar-100-python``. Only arrays and plain containers are unpickled.
    labels : {"fine", "coarse"}
        100 classes, or the 20 superclasses of five.
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    files = find("cifar-100", Path(path), ("", "cifar-100-python"), ["train", "test", "meta"])
    (x_train, y_train), (x_test, y_test) = (_cifar_split(f, labels) for f in files[:2])
    names = _cifar_fields(files[2], f"{labels}_label_names")[0]
    known = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    found = Labels.without_groups(np.concatenate([y_train, y_test]), known)
    given = np.repeat(["train", "test"], [len(y_train), len(y_test)])
    parts = divide(found.y, found.group, cal=cal, val=val, given=given, limit=limit, seed=seed)
    x = torch.from_numpy(np.concatenate([x_train, x_test])[in_order(parts)])
    return assemble("cifar-100", x, found, parts, terms(cifar_100))


def _cifar_split(path: Path, labels: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    data, y = _cifar_fields(path, "data", f"{labels}_labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
        raise InputError(f"{path}: its data are no uint8 array of rows of 3072; fetch it again")
    if not isinstance(y, list) or {type(code) for code in y} != {int}:
        raise InputError(f"{path}: its {labels} labels are no list of integers; fetch it again")
    if len(data) != len(y):
        raise InputError(f"{path} has {len(y)} labels for {len(data)} images; fetch it again")
    return data.reshape(-1, 3, 32, 32), np.asarray(y, dtype=np.int64)


def _cifar_fields(path: Path, *names: str) -> list[Any]:
    content = read_pickle(path)
    fields = content if isinstance(content, dict) else {}
    # Keys are bytes where Python 2 wrote them.
    fields = {k.decode() if isinstance(k, bytes) else k: v for k, v in fields.items()}
    absent = [name for name in names if name not in fields]
    if absent:
        raise InputError(
            f"{path} lacks {', '.join(absent)}; it has {', '.join(map(str, fields)) or 'nothing'}:"
            " give the official CIFAR-100 python files"
        )
    return [fields[name] for name in names]


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, plain or gzip, whose magic number and size agree.

    Raises
    ------
    InputError
        When they do not, or the compression is damaged.
    """
    magic = 0x0800 + dimensions
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again") from error
    head = 4 * (1 + dimensions)
    if len(data) < head or struct.unpack(">I", data[:4])[0] != magic:
        raise InputError(
            f"{path} begins with {data[:4].hex() or 'nothing'}; an idx file of bytes in"
            f" {dimensions} dimensions begins with {magic:08x}: fetch it again"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    if len(data) != head + math.prod(shape):
        raise InputError(
            f"{path} has {len(data)} bytes; its header, {' x '.join(map(str, shape))}, asks for"
            f" {head + math.prod(shape)}: fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
