"""Published images: digits, Fashion-MNIST, CIFAR-100, Tiny ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field
from sklearn.datasets import load_digits

from fairsparse.core import InputError
from fairsparse.data.assembly import assemble, image_task
from fairsparse.data.files import find
from fairsparse.data.files.arrays import read_idx, read_pickle
from fairsparse.data.files.images import ImageFiles
from fairsparse.data.labels import Labels
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Assigned, Held, Ints, in_order
from fairsparse.data.task import Task

Images = tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]
"""Pixels (N, channels, H, W) and labels (N,) of an official split."""

DIGITS_TEST = 1 / 3  # about 60 of the 180 examples of each digit
IDX = ("images-idx3", "labels-idx1")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
TINY = ("wnids.txt", "words.txt", "val/val_annotations.txt")


@dataset("digits", fixed=("test",))
def digits(
    longtail: Annotated[float, Field(gt=0, le=1)] | None = None,
    *,
    held: Held = Held(test=DIGITS_TEST, cal=0.15, val=0.15),
) -> Task:
    """Handwritten digits, 1,797 images of 1x8x8 in 10 classes; ships with scikit-learn.

    About 60 examples per class are kept for test and 18 each for cal and val; the set has no
    official test split.

    Terms: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), CC BY 4.0;
    no groups are recorded.

    Parameters
    ----------
    longtail : float in (0, 1], optional
        Number of training examples of the last class as a share of the first class's; the classes
        between follow a geometric series. Test, cal and val are taken before the tail is made,
        with equally many examples of every class. Absent: classes as published.
    limit : int, optional
        Use at most so many training examples, counted before cal, val and the tail.
    """
    bunch = load_digits()
    y = bunch.target.astype(np.int64)
    images = bunch.images
    rng = np.random.default_rng(held.seed)
    if longtail is not None:
        even = np.sort(_head(y, np.full(10, np.bincount(y).min()), rng))
        y, images = y[even], images[even]
    labels = Labels.without_groups(y, [str(k) for k in range(10)])
    parts = held.divide(y, labels.group)
    if longtail is not None:
        train = parts["train"]
        most = np.bincount(y[train], minlength=10).max()
        counts = np.round(most * longtail ** (np.arange(10) / 9)).astype(np.int64).clip(1)
        parts["train"] = np.sort(train[_head(y[train], counts, rng)])
    x = torch.from_numpy(images.astype(np.uint8))[:, None]  # (N, 1, 8, 8), levels 0 .. 16
    return assemble("digits", x[in_order(parts)], labels, parts)


def _head(y: Ints, counts: Ints, rng: np.random.Generator) -> Ints:
    """Return positions of ``counts[k]`` random examples of every class k, at most all it has."""
    chosen = [rng.permutation(np.flatnonzero(y == k))[:n] for k, n in enumerate(counts)]
    return np.concatenate(chosen)


@dataset("fashion-mnist", fixed=("test",))
def fashion_mnist(path: Path, *, held: Held) -> Task:
    """Fashion-MNIST, 70,000 images of clothes, 1x28x28 in 10 classes.

    Terms: MIT licence (Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747); no groups are recorded.

    Parameters
    ----------
    path : Path
        Folder of the four official idx files, plain or gzip; also looked for in ``path/raw`` and
        ``path/FashionMNIST/raw``.
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    """
    names = [f"{s}-{kind}-ubyte" for s in ("train", "t10k") for kind in IDX]
    files = find("fashion-mnist", path, ("", "raw", "FashionMNIST/raw"), names)
    train, test = (_idx_split(*pair) for pair in (files[:2], files[2:]))
    return _array_task("fashion-mnist", train, test, CLOTHES, held)


def _idx_split(images: Path, labels: Path) -> Images:
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        raise InputError(f"{labels} has {len(y)} labels for {len(x)} images; fetch it again")
    return x[:, None], y


@dataset("cifar-100", fixed=("test",))
def cifar_100(
    path: Path,
    labels: Literal["fine", "coarse"] = "fine",
    *,
    held: Held,
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
    """
    files = find("cifar-100", path, ("", "cifar-100-python"), ["train", "test", "meta"])
    train, test = (_cifar_split(file, labels) for file in files[:2])
    names = _cifar_fields(files[2], f"{labels}_label_names")[0]
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    return _array_task("cifar-100", train, test, names, held)


def _cifar_split(path: Path, labels: str) -> Images:
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


def _array_task(
    name: str, train: Images, test: Images, class_names: Sequence[str], held: Held
) -> Task:
    images, y = (np.concatenate(pair) for pair in zip(train, test, strict=True))
    labels = Labels.without_groups(y, class_names)
    parts = held.divide(labels.y, labels.group, Assigned.official(len(train[1]), len(test[1])))
    return assemble(name, torch.from_numpy(images[in_order(parts)]), labels, parts)


@dataset("tiny-imagenet", fixed=("test", "grayscale"))
def tiny_imagenet(path: Path, *, images: ImageFiles, held: Held) -> Task:
    """Tiny ImageNet, 110,000 labelled photographs of 3x64x64 in 200 classes.

    Terms: those of ImageNet, non-commercial research and education (Le and Yang, 2015; Deng et
    al., 2009); photographs belong to their owners; no groups are recorded.

    Parameters
    ----------
    path : Path
        ``tiny-imagenet-200`` as it unpacks, or the folder that holds it. The official validation
        split, 50 images a class, is the test split here; the official test split has no labels.
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    """
    name = "tiny-imagenet"
    classes, words, annotations = find(name, path, ("", "tiny-imagenet-200"), TINY)
    root = classes.parent
    wnids = classes.read_text(encoding="utf-8").split()
    rows = [
        (image.relative_to(root), wnid, "train")
        for wnid in wnids
        for image in sorted((root / "train" / wnid / "images").glob("*.JPEG"))
    ]
    empty = sorted(set(wnids) - {wnid for _, wnid, _ in rows})
    if empty:
        raise InputError(
            f"{name}: no images in {root / 'train' / empty[0] / 'images'} ({len(empty)} of"
            f" {len(wnids)} classes have none); unpack the official archive again"
        )
    for line in annotations.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")  # file, class, box
        if len(fields) > 1:
            rows.append((Path("val/images") / fields[0], fields[1], "test"))
    frame = pd.DataFrame(rows, columns=["file", "label", "split"])
    unknown = set(frame["label"]) - set(wnids)
    if unknown:
        raise InputError(
            f"{name}: {annotations} has the class '{min(unknown)}', which {classes} does not list;"
            " fetch the official archive again"
        )
    frame["label"] = frame["label"].map(_tiny_names(words, wnids))
    frame.index = pd.Index([root / file for file in frame["file"]])
    assigned = Assigned(frame["split"].to_numpy(dtype=object))
    return image_task(name, frame, "label", (), images, held, assigned)


def _tiny_names(path: Path, wnids: list[str]) -> dict[str, str]:
    """The first of each class's words; with its number where two classes share it."""
    words: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        wnid, _, text = line.partition("\t")
        words[wnid] = text.split(",")[0].strip()
    names = {wnid: words.get(wnid) or wnid for wnid in wnids}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {wnid: f"{name} ({wnid})" if name in twice else name for wnid, name in names.items()}
