"""Faces in their official layouts: CelebA, FairFace, UTKFace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from fairsparse.core import InputError
from fairsparse.data.assembly import image_task
from fairsparse.data.files import find
from fairsparse.data.files.images import ImageFiles
from fairsparse.data.files.table import read_table, require
from fairsparse.data.labels import split_names, yes_or_no
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Assigned, Held
from fairsparse.data.task import Task

CELEBA_FILES = ("list_attr_celeba.txt", "list_eval_partition.txt")
PARTITIONS = {0: "train", 1: "val", 2: "test"}
FAIRFACE = ("age", "gender", "race")
UTKFACE_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+\.jpg(\.chip\.jpg)?")
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Other")
AGES = {"0-17": 17, "18-29": 29, "30-44": 44, "45-59": 59, "60+": 999}  # oldest of each band


@dataset("celeba", fixed=("test", "val", "grayscale"))
def celeba(
    path: Path,
    target: str = "Smiling",
    groups: Annotated[tuple[str, ...], Field(min_length=1)] = ("Male",),
    *,
    images: ImageFiles = ImageFiles(size=64),
    held: Held,
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
    cal : float in (0, 0.5)
        Share of the official training split.
    limit : int, optional
        Use at most so many training examples, counted before cal.
    """
    attributes, partition = find("celeba", path, ("", "celeba", "CelebA"), CELEBA_FILES)
    frame = read_celeba(attributes)
    require("celeba", frame.drop(columns="file"), (target, *groups), "attribute")
    assigned = Assigned(_partition(partition, frame["file"]))
    folder = attributes.parent / "img_align_celeba"
    if not folder.is_dir():
        raise InputError(
            f"celeba: no folder {folder} with the images 000001.jpg and on; unpack"
            " img_align_celeba.zip there"
        )
    nested = folder / "img_align_celeba"  # as some archives unpack
    folder = nested if nested.is_dir() else folder
    frame.index = pd.Index([folder / file for file in frame["file"]])
    frame = yes_or_no(frame, (target, *groups))
    return image_task("celeba", frame, target, groups, images, held, assigned)


def read_celeba(path: Path) -> pd.DataFrame:
    """Read ``list_attr_celeba.txt``: a count, the names, then a file and -1 or 1 for each.

    The columns are ``file`` and one of bool for each attribute.
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


def _partition(path: Path, files: pd.Series) -> npt.NDArray[np.object_]:
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    codes = files.map({row[0]: row[1] for row in rows if len(row) == 2})
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
    return splits.to_numpy(dtype=object)


@dataset("fairface", fixed=("test", "grayscale"))
def fairface(
    path: Path,
    target: Literal["gender", "age", "race"] = "gender",
    groups: Annotated[tuple[Literal["race", "gender", "age"], ...], Field(min_length=1)] = (
        "race",
    ),
    *,
    images: ImageFiles = ImageFiles(size=64),
    held: Held,
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
    cal, val : float in (0, 0.5)
        Shares of the official training split.
    """
    names = [f"fairface_label_{split}.csv" for split in ("train", "val")]
    files = find("fairface", path, ("", "fairface", "FairFace"), names)
    tables = [read_table("fairface", file) for file in files]
    for table in tables:
        require("fairface", table, ["file", *FAIRFACE])
    frame = pd.concat(tables, ignore_index=True)
    if "age" in frame:  # 0-2, 3-9, 10-19, ...: as they rise
        bands = sorted(frame["age"].dropna().unique(), key=_first_number)
        frame["age"] = pd.Categorical(frame["age"], bands)
    frame.index = pd.Index([files[0].parent / file for file in frame["file"]])
    assigned = Assigned.official(*map(len, tables))
    return image_task("fairface", frame, target, groups, images, held, assigned)


def _first_number(band: str) -> int:
    number = re.search(r"\d+", str(band))
    return int(number[0]) if number else 0


@dataset("utkface", fixed=("test", "grayscale"))
def utkface(
    path: Path,
    target: Literal["gender", "age"] = "gender",
    groups: Annotated[tuple[Literal["race", "gender"], ...], Field(min_length=1)] = ("race",),
    *,
    images: ImageFiles,
    held: Held,
) -> Task:
    """UTKFace, about 23,700 faces by gender or age band, with race and gender as groups.

    Terms: non-commercial research only, images belong to their owners (Zhang, Song and Qi, 2017);
    age, gender and race were estimated by a model and checked by a person, not self-reported.

    Parameters
    ----------
    path : Path
        Folder of the images, ``[age]_[gender]_[race]_[date].jpg`` or ``.jpg.chip.jpg``, or the
        folder that holds it as ``UTKFace``. A ``split.csv`` beside the images, with columns
        ``file`` and ``split`` (train, cal, val or test), gives the splits; without one 20% are
        drawn for test. The set names no identities, so faces of one person may be in two splits.
    target : {"gender", "age"}
        Age is classified in the bands 0-17, 18-29, 30-44, 45-59 and 60+.
    groups : non-empty tuple of {"race", "gender"}
        With both, groups are intersections such as ``"White x female"``.
    """
    folders = (path, path / "UTKFace")
    folder = next((f for f in folders if any(f.glob("*.jpg"))), None)
    if folder is None:
        raise InputError(
            "utkface: expected images named [age]_[gender]_[race]_[date].jpg in one of"
            f" {folders[0]}, {folders[1]}; set path to where they are"
        )
    files = sorted(file.name for file in folder.glob("*.jpg"))
    matches = {file: UTKFACE_NAME.fullmatch(file) for file in files}
    rows = [(f, int(m[1]), int(m[2]), int(m[3])) for f, m in matches.items() if m]
    if not rows:
        raise InputError(
            f"utkface: none of the {len(files)} images in {folder} is named"
            f" [age]_[gender]_[race]_[date].jpg (first: {files[0]}); keep the official names"
        )
    frame = pd.DataFrame(rows, columns=["file", "age", "gender", "race"])
    frame["gender"] = pd.Categorical.from_codes(frame["gender"], GENDERS)
    frame["race"] = pd.Categorical.from_codes(frame["race"], RACES)
    frame["age"] = pd.cut(frame["age"], [-1, *AGES.values()], labels=list(AGES))
    frame.index = pd.Index([folder / file for file in frame["file"]])
    assigned = Assigned()
    if (folder / "split.csv").is_file():
        assigned = Assigned(_utkface_splits(folder / "split.csv", frame["file"]))
    notes = ""
    if len(rows) < len(files):
        notes = f"{len(files) - len(rows)} files with malformed names were skipped."
    return image_task("utkface", frame, target, groups, images, held, assigned, notes)


def _utkface_splits(path: Path, files: pd.Series) -> npt.NDArray[np.object_]:
    table = read_table("utkface", path)
    require("utkface", table, ["file", "split"])
    splits = files.map(dict(zip(table["file"], table["split"], strict=True)))
    if splits.isna().any():
        absent = files[splits.isna()]
        raise InputError(
            f"utkface: {path} gives no split for {len(absent)} images (first: {absent.iloc[0]});"
            " add them or remove the file"
        )
    return split_names("utkface", splits.rename("split"))
