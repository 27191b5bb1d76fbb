"""Tiny ImageNet, in the layout in which Stanford's course distributes it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fairsparse.data.builders import DATASETS, Count, Seed, Share
from fairsparse.data.generic import find, given_splits
from fairsparse.data.pictures import Pixels, picture_task
from fairsparse.data.task import Task
from fairsparse.types import InputError

FOLDER = "tiny-imagenet-200"
FILES = ("wnids.txt", "words.txt", "val/val_annotations.txt")


@DATASETS.register("tiny-imagenet")
def tiny_imagenet(
    path: Path,
    size: Count | None = None,
    cache: Path | None = None,
    stream: bool = False,
    skip_bad_images: bool = False,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Tiny ImageNet, 110,000 labelled photographs of 3x64x64 in 200 classes.

    Terms: those of ImageNet, non-commercial research and education (Le and Yang, 2015; Deng et
    al., 2009); photographs belong to their owners; no groups are recorded.

    Parameters
    ----------
    path : Path
        ``tiny-imagenet-200`` as it unpacks, or the folder that holds it. The official validation
        split, 50 images a class, is the test split here; the official test split has no labels.
    size : int, optional
        Resize to ``size x size``.
    cache : Path, optional
        Folder in which to keep the decoded images, so that they are decoded once and take no
        memory; they are decoded anew when a file changes.
    stream : bool
        Decode each batch when it is needed, and keep nothing.
    skip_bad_images : bool
        Leave out images that do not decode, and count them in the notes, instead of stopping.
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    name = "tiny-imagenet"
    classes, words, annotations = find(name, Path(path), ("", FOLDER), FILES)
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
    frame["label"] = frame["label"].map(_names(words, wnids))
    return picture_task(
        tiny_imagenet,
        name,
        frame,
        [root / file for file in frame["file"]],
        "label",
        (),
        Pixels(size, cache, stream, skip_bad_images),
        given=given_splits(name, frame, "split"),
        cal=cal,
        val=val,
        seed=seed,
        limit=limit,
    )


def _names(path: Path, wnids: list[str]) -> dict[str, str]:
    """The first of each class's words; with its number where two classes share it."""
    words: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        wnid, _, text = line.partition("\t")
        words[wnid] = text.split(",")[0].strip()
    names = {wnid: words.get(wnid) or wnid for wnid in wnids}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {wnid: f"{name} ({wnid})" if name in twice else name for wnid, name in names.items()}
