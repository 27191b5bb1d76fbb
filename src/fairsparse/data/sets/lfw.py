"""LFW with inferred attributes, in its official layout or as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from fairsparse.core import InputError
from fairsparse.data.assembly import image_task
from fairsparse.data.files.images import ImageFiles
from fairsparse.data.files.table import read_table, require
from fairsparse.data.labels import yes_or_no
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Assigned, Held
from fairsparse.data.task import Task

FOLDERS = ("lfw-deepfunneled", "lfw_funneled", "lfw")


@dataset("lfw", fixed=("grayscale",))
def lfw(
    path: Path,
    target: str = "Smiling",
    groups: Annotated[tuple[str, ...], Field(min_length=1)] = ("gender",),
    *,
    images: ImageFiles = ImageFiles(size=64),
    held: Held,
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
    test : float in (0, 0.5)
        Share of all examples, where no table gives a test split.
    """
    spots = [path, path / "lfw"]
    table = next((s / "labels.csv" for s in spots if (s / "labels.csv").is_file()), None)
    frame, folder = _lfw_table(table) if table else _lfw_official(spots)
    attributes = frame.drop(columns=["file", "person", "split"], errors="ignore")
    require("lfw", attributes, (target, *groups), "attribute")
    split = frame["split"].to_numpy(dtype=object) if "split" in frame else None
    assigned = Assigned(split, frame["person"].to_numpy(dtype=object))
    frame.index = pd.Index([folder / file for file in frame["file"]])
    frame = yes_or_no(frame, (target, *groups))
    return image_task("lfw", frame, target, groups, images, held, assigned)


def _lfw_table(path: Path) -> tuple[pd.DataFrame, Path]:
    table = read_table("lfw", path)
    require("lfw", table, ["file", "person_id", "gender", "test"])
    if "has_pred" in table:  # some photographs have no inferred attributes
        table = table[table["has_pred"]].reset_index(drop=True)
    facts = ["file", "person_id", "gender", "test", "has_pred"]
    numbers = table.drop(columns=facts, errors="ignore").select_dtypes("number")
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
    folder = next((root / f for f in FOLDERS if (root / f).is_dir()), None) if root else None
    if root is None or folder is None:
        raise InputError(
            "lfw: expected lfw_attributes.txt and lfw-deepfunneled/NAME/NAME_0001.jpg, or a"
            f" labels.csv, in one of {', '.join(map(str, spots))}; set path to where they are"
        )
    nested = folder / folder.name  # as some archives unpack
    return read_lfw(root / "lfw_attributes.txt"), nested if nested.is_dir() else folder


def read_lfw(path: Path) -> pd.DataFrame:
    """Read ``lfw_attributes.txt``: a comment, then ``#``, names and a row a photograph, by tabs.

    The columns are ``file``, ``person``, ``gender`` and for each attribute whether its score is
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
