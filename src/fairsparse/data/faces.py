"""Faces whose attributes annotators saw: CelebA and FairFace, in their official layouts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from fairsparse.data.builders import DATASETS, Count, Seed, Share
from fairsparse.data.generic import find, given_splits, read_table, require
from fairsparse.data.pictures import Pixels, picture_task, yes_or_no
from fairsparse.data.task import Task
from fairsparse.types import InputError

CELEBA_FILES = ("list_attr_celeba.txt", "list_eval_partition.txt")
PARTITIONS = {0: "train", 1: "val", 2: "test"}
FAIRFACE = ("age", "gender", "race")


@DATASETS.register("celeba")
def celeba(
    path: Path,
    target: str = "Smiling",
    groups: Annotated[tuple[str, ...], Field(min_length=1)] = ("Male",),
    size: Count | None = 64,
    cache: Path | None = None,
    stream: bool = False,
    skip_bad_images: bool = False,
    cal: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """CelebA, 202,599 faces of 10,177 celebrities by any of 40 attributes, in the official splits.

    Terms: non-commercial research only (Liu et al., 2015, arXiv:1411.7766); photographs belong to
    their owners. All attributes, gender among them, are what annotators saw in a photograph, and
    not what people say of themselves.

    Parameters
    ----------
    path : Path
        Folder of ``list_attr_celeba.txt``, ``list_eval_partition.txt`` and the images,
        ``img_align_celeba/000001.jpg`` and on, or the folder that holds it as ``celeba``.
    target : str
        The attribute that is predicted, by its name in the official file.
    groups : non-empty tuple of str
        Attributes that make up the groups; several are intersected.
    size : int, optional
        Resize to ``size x size``; without it images are 178x218.
    cache : Path, optional
        Folder in which to keep the decoded images, so that they are decoded once and take no
        memory; they are decoded anew when a file changes.
    stream : bool
        Decode each batch when it is needed, and keep nothing.
    skip_bad_images : bool
        Leave out images that do not decode, and count them in the notes, instead of stopping.
    cal : float in (0, 0.5)
        Share of the official training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal.
    """
    attributes, partition = find("celeba", Path(path), ("", "celeba", "CelebA"), CELEBA_FILES)
    frame = read_celeba(attributes)
    require("celeba", frame.drop(columns="file"), (target, *groups), "attribute")
    frame["split"] = _partition(partition, frame["file"])
    folder = attributes.parent / "img_align_celeba"
    if not folder.is_dir():
        raise InputError(
            f"celeba: no folder {folder} with the images 000001.jpg and on; unpack"
            " img_align_celeba.zip there"
        )
    nested = folder / "img_align_celeba"  # as some archives unpack
    folder = nested if nested.is_dir() else folder
    return picture_task(
        celeba,
        "celeba",
        yes_or_no(frame, (target, *groups)),
        [folder / file for file in frame["file"]],
        target,
        groups,
        Pixels(size, cache, stream, skip_bad_images),
        given=given_splits("celeba", frame, "split"),
        cal=cal,
        val=0.1,
        seed=seed,
        limit=limit,
    )


def read_celeba(path: Path) -> pd.DataFrame:
    """Read ``list_attr_celeba.txt``: a count, the names, then a file and -1 or 1 for each.

    Returns
    -------
    DataFrame
        Column ``file`` and one of bool for each attribute.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) < 3 or not lines[0].isdigit():
        raise InputError(
            f"celeba: {path} does not begin with a count and a line of attribute names; fetch the"
            " official file again"
        )
    names, rows = lines[1].split(), [line.split() for line in lines[2:]]
    wrong = next((i for i, row in enumerate(rows) if len(row) != 1 + len(names)), None)
    if wrong is not None:
        raise InputError(
            f"celeba: line {wrong + 3} of {path} has {len(rows[wrong]) - 1} values for"
            f" {len(names)} attributes; fetch the official file again"
        )
    if len(rows) != int(lines[0]):
        raise InputError(
            f"celeba: {path} has {len(rows)} rows and announces {lines[0]}; rows are missing:"
            " fetch the official file again"
        )
    values = np.array([row[1:] for row in rows])
    if not np.isin(values, ("-1", "1")).all():
        bad = values[~np.isin(values, ("-1", "1"))][0]
        raise InputError(f"celeba: {path} has the value '{bad}'; allowed are -1 and 1")
    frame = pd.DataFrame(values == "1", columns=names)
    frame.insert(0, "file", [row[0] for row in rows])
    return frame


def _partition(path: Path, files: pd.Series) -> pd.Series:
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    known = {row[0]: row[1] for row in rows if len(row) == 2}
    codes = files.map(known)
    if codes.isna().any():
        absent = files[codes.isna()]
        raise InputError(
            f"celeba: {path} names no split for {len(absent)} images (first: {absent.iloc[0]});"
            " fetch the official file again"
        )
    splits = codes.map({str(k): v for k, v in PARTITIONS.items()})
    if splits.isna().any():
        raise InputError(
            f"celeba: {path} has the partition '{codes[splits.isna()].iloc[0]}'; allowed are"
            " 0, 1, 2"
        )
    return splits


@DATASETS.register("fairface")
def fairface(
    path: Path,
    target: Literal["gender", "age", "race"] = "gender",
    groups: Annotated[tuple[Literal["race", "gender", "age"], ...], Field(min_length=1)] = (
        "race",
    ),
    size: Count | None = 64,
    cache: Path | None = None,
    stream: bool = False,
    skip_bad_images: bool = False,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """FairFace, 97,698 faces balanced over seven races, by gender, age band or race.

    Terms: CC BY 4.0 (Karkkainen and Joo, 2021, arXiv:1908.04913); race, gender and age are what
    annotators saw in a photograph.

    Parameters
    ----------
    path : Path
        Folder of ``fairface_label_train.csv``, ``fairface_label_val.csv`` and the images that their
        column ``file`` names (``train/1.jpg``), or the folder that holds it as ``fairface``. The
        official validation split is the test split here.
    target : {"gender", "age", "race"}
        What is predicted; age in the set's bands.
    groups : non-empty tuple of {"race", "gender", "age"}
        Several are intersected.
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
    names = [f"fairface_label_{split}.csv" for split in ("train", "val")]
    files = find("fairface", Path(path), ("", "fairface", "FairFace"), names)
    tables = [read_table("fairface", file) for file in files]
    for table in tables:
        require("fairface", table, ["file", *FAIRFACE])
    frame = pd.concat(tables, ignore_index=True)
    if "age" in frame:  # 0-2, 3-9, 10-19, ...: as they rise
        bands = sorted(frame["age"].dropna().unique(), key=_first_number)
        frame["age"] = pd.Categorical(frame["age"], bands)
    given = np.repeat(["train", "test"], [len(table) for table in tables])
    return picture_task(
        fairface,
        "fairface",
        frame,
        [files[0].parent / file for file in frame["file"]],
        target,
        groups,
        Pixels(size, cache, stream, skip_bad_images),
        given=given,
        cal=cal,
        val=val,
        seed=seed,
        limit=limit,
    )


def _first_number(band: str) -> int:
    found = re.search(r"\d+", str(band))
    return int(found[0]) if found else 0
