"""Faces with attributes: CelebA, LFW, FairFace, in their official layouts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from fairsparse.data.builders import DATASETS, Count, Seed, Share
from fairsparse.data.generic import find, given_splits, read_table, require
from fairsparse.data.pictures import Pixels, picture_task
from fairsparse.data.task import Task
from fairsparse.registry import nearest
from fairsparse.types import InputError

CELEBA_FILES = ("list_attr_celeba.txt", "list_eval_partition.txt")
PARTITIONS = {0: "train", 1: "val", 2: "test"}
LFW_FOLDERS = ("lfw-deepfunneled", "lfw_funneled", "lfw")
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
    their owners. All attributes, ``Male`` among them, are what annotators saw in a photograph, and
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
    _known("celeba", frame.columns[1:], (target, *groups))
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
        _yes_or_no(frame, (target, *groups)),
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


@DATASETS.register("lfw")
def lfw(
    path: Path,
    target: str = "Smiling",
    groups: Annotated[tuple[str, ...], Field(min_length=1)] = ("gender",),
    size: Count | None = 64,
    cache: Path | None = None,
    stream: bool = False,
    skip_bad_images: bool = False,
    test: Share = 0.2,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """LFW, 13,233 news photographs of 5,749 people by any attribute, no person in two splits.

    Terms: for research (Huang et al., 2007), no formal licence; photographs belong to their owners.
    All attributes, gender and race among them, are what a classifier inferred from the photograph
    (Kumar et al., 2009, or the model that a table of yours comes from); call the task "LFW with
    inferred attributes".

    Parameters
    ----------
    path : Path
        Folder of ``lfw-deepfunneled/NAME/NAME_0001.jpg`` and on (or ``lfw_funneled``, ``lfw``) and
        ``lfw_attributes.txt``; or of a ``labels.csv`` beside the images that its column ``file``
        names, with ``person_id``, ``gender`` (0 male, 1 female, -1 unknown), ``test`` (True or
        False), a probability for each attribute and, optionally, ``pred_race`` and ``has_pred``
        (False leaves a row out). Also looked for in ``path/lfw``.
    target : str
        The attribute that is predicted; it is taken as present where its score is above 0, or its
        probability above a half.
    groups : non-empty tuple of str
        ``gender``, ``race`` where the table has ``pred_race``, or attributes; several are
        intersected.
    size : int, optional
        Resize to ``size x size``.
    cache : Path, optional
        Folder in which to keep the decoded images, so that they are decoded once and take no
        memory; they are decoded anew when a file changes.
    stream : bool
        Decode each batch when it is needed, and keep nothing.
    skip_bad_images : bool
        Leave out images that do not decode, and count them in the notes, instead of stopping.
    test : float in (0, 0.5)
        Share of all examples, where no table gives a test split.
    cal, val : float in (0, 0.5)
        Shares of the training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    path = Path(path)
    spots = [path, path / "lfw"]
    table = next((s / "labels.csv" for s in spots if (s / "labels.csv").is_file()), None)
    frame, folder = _lfw_table(table) if table else _lfw_official(spots)
    names = [c for c in frame.columns if c not in ("file", "person", "split")]
    _known("lfw", names, (target, *groups))
    return picture_task(
        lfw,
        "lfw",
        _yes_or_no(frame, (target, *groups)),
        [folder / file for file in frame["file"]],
        target,
        groups,
        Pixels(size, cache, stream, skip_bad_images),
        given=given_splits("lfw", frame, "split" if "split" in frame else None),
        identity=frame["person"].to_numpy(dtype=object),
        test=test,
        cal=cal,
        val=val,
        seed=seed,
        limit=limit,
    )


def _lfw_table(path: Path) -> tuple[pd.DataFrame, Path]:
    table = read_table("lfw", path)
    require("lfw", table, ["file", "person_id", "gender", "test"])
    if "has_pred" in table:  # some photographs have no inferred attributes
        table = table[table["has_pred"]].reset_index(drop=True)
    given = {"file", "person_id", "gender", "test", "has_pred"}
    numbers = table.drop(columns=list(given), errors="ignore").select_dtypes("number")
    inferred = numbers.loc[:, numbers.notna().all() & numbers.ge(0).all() & numbers.le(1).all()]
    frame = inferred > 0.5
    frame["gender"] = table["gender"].map({0: "male", 1: "female"})
    if "pred_race" in table:
        frame["race"] = table["pred_race"]
    frame["file"], frame["person"] = table["file"], table["person_id"]
    frame["split"] = np.where(table["test"], "test", "train")
    return frame, path.parent


def _lfw_official(spots: Sequence[Path]) -> tuple[pd.DataFrame, Path]:
    root = next((s for s in spots if (s / "lfw_attributes.txt").is_file()), None)
    folder = next((root / f for f in LFW_FOLDERS if (root / f).is_dir()), None) if root else None
    if root is None or folder is None:
        raise InputError(
            "lfw: expected lfw_attributes.txt and lfw-deepfunneled/NAME/NAME_0001.jpg, or a"
            f" labels.csv, in one of {', '.join(map(str, spots))}; set path to where they are"
        )
    nested = folder / folder.name  # as some archives unpack
    return read_lfw(root / "lfw_attributes.txt"), nested if nested.is_dir() else folder


def read_lfw(path: Path) -> pd.DataFrame:
    """Read ``lfw_attributes.txt``: a comment, then ``#``, names and a row a photograph, by tabs.

    Returns
    -------
    DataFrame
        Columns ``file``, ``person``, ``gender``, and one of bool for each attribute: its score is
        above 0.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    head = next((i for i, line in enumerate(lines) if line.startswith("#\tperson\t")), None)
    if head is None:
        raise InputError(
            f"lfw: {path} has no line of names that begins with '#', 'person' and 'imagenum', by"
            " tabs; fetch the official file again"
        )
    names = lines[head].split("\t")[1:]
    rows = [line.split("\t") for line in lines[head + 1 :] if line.strip()]
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(names)), None)
    if wrong is not None:
        raise InputError(
            f"lfw: line {head + wrong + 2} of {path} has {len(rows[wrong])} fields for"
            f" {len(names)} names; fetch the official file again"
        )
    try:
        frame = pd.DataFrame(
            np.array([row[2:] for row in rows], dtype=float) > 0, columns=names[2:]
        )
    except ValueError as error:
        raise InputError(f"lfw: {path} has a score that is no number ({error})") from None
    person = [row[0].replace(" ", "_") for row in rows]
    numbers = [int(row[1]) for row in rows]
    frame["file"] = [f"{p}/{p}_{n:04d}.jpg" for p, n in zip(person, numbers, strict=True)]
    frame["person"] = person
    if "Male" in frame:
        frame["gender"] = np.where(frame["Male"], "male", "female")
    return frame


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


def _known(name: str, attributes: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `InputError`, with the nearest name, for an attribute the set does not have."""
    known = [str(a) for a in attributes]
    for attribute in wanted:
        if attribute not in known:
            raise InputError(
                f"{name}: no attribute '{attribute}'{nearest(attribute, known)}; attributes:"
                f" {', '.join(known)}"
            )


def _yes_or_no(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Name both values of attributes, absent first."""
    result = frame.copy()
    for column in columns:
        if frame[column].dtype == bool:
            names = [f"not {column}", column]
            result[column] = pd.Categorical.from_codes(frame[column].astype(int), names)
    return result
