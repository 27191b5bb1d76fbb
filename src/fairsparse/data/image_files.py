"""Image data sets that are distributed as one file per image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from fairsparse.data.builders import DATASETS, Count, Seed, Share
from fairsparse.data.generic import given_splits, identities, read_table, require
from fairsparse.data.pictures import Pixels, picture_task
from fairsparse.data.task import SPLITS, Task
from fairsparse.types import InputError

UTKFACE_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+\.jpg(\.chip\.jpg)?")
_IMAGES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Other")
AGES = {"0-17": 17, "18-29": 29, "30-44": 44, "45-59": 59, "60+": 999}  # oldest of each band


@DATASETS.register("utkface")
def utkface(
    path: Path,
    target: Literal["gender", "age"] = "gender",
    groups: Annotated[tuple[Literal["race", "gender"], ...], Field(min_length=1)] = ("race",),
    size: Count | None = None,
    cache: Path | None = None,
    stream: bool = False,
    skip_bad_images: bool = False,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
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
        Shares of the training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    folders = (Path(path), Path(path) / "UTKFace")
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
    column = None
    if (folder / "split.csv").is_file():
        frame["split"] = _utkface_splits(folder / "split.csv", frame["file"])
        column = "split"
    notes = []
    if len(rows) < len(files):
        notes.append(f"{len(files) - len(rows)} files with malformed names were skipped.")
    return picture_task(
        utkface,
        "utkface",
        frame,
        [folder / file for file in frame["file"]],
        target,
        groups,
        Pixels(size, cache, stream, skip_bad_images),
        given=given_splits("utkface", frame, column),
        notes=notes,
        cal=cal,
        val=val,
        limit=limit,
        seed=seed,
    )


def _utkface_splits(path: Path, files: pd.Series) -> pd.Series:
    table = read_table("utkface", path)
    require("utkface", table, ["file", "split"])
    splits = files.map(dict(zip(table["file"], table["split"], strict=True)))
    if splits.isna().any():
        absent = files[splits.isna()]
        raise InputError(
            f"utkface: {path} gives no split for {len(absent)} images (first: {absent.iloc[0]});"
            " add them or remove the file"
        )
    return splits


@DATASETS.register("image-table")
def image_table(
    path: Path,
    image: str = "file",
    label: str = "label",
    groups: tuple[str, ...] = (),
    split_column: str | None = None,
    identity: str | None = None,
    root: Path | None = None,
    size: Count | None = None,
    grayscale: bool = False,
    cache: Path | None = None,
    stream: bool = False,
    skip_bad_images: bool = False,
    test: Share = 0.2,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Your images: a CSV or Parquet table that names image files, classes and groups.

    Terms: those of the data given; whether groups are inferred is for their owner to say.

    Parameters
    ----------
    path : Path
        The table, one row per image.
    image, label : str
        Columns of the file names and of the classes.
    groups : tuple of str
        Columns of sensitive attributes; several are intersected. A missing value is unknown.
    split_column : str, optional
        Column with train, cal, val or test; splits it does not name are taken from train.
    identity : str, optional
        Column that says whose image it is; no identity is then in two splits.
    root : Path, optional
        Folder to which file names are relative; that of the table when absent.
    size : int, optional
        Resize to ``size x size``; needed when the images differ in size.
    grayscale : bool
        One channel instead of three.
    cache : Path, optional
        Folder in which to keep the decoded images, so that they are decoded once and take no
        memory; they are decoded anew when a file changes.
    stream : bool
        Decode each batch when it is needed, and keep nothing.
    skip_bad_images : bool
        Leave out images that do not decode, and count them in the notes, instead of stopping.
    test : float in (0, 0.5)
        Share of all examples, where no column gives a test split.
    cal, val : float in (0, 0.5)
        Shares of the training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    name, path = "image-table", Path(path)
    frame = read_table(name, path)
    columns = (image, label, *groups, split_column, identity)
    require(name, frame, [column for column in columns if column is not None])
    if frame[image].isna().any():
        row = int(frame[image].isna().argmax()) + 1
        raise InputError(f"{name}: column '{image}' names no file in row {row}; fill it in")
    folder = path.parent if root is None else Path(root)
    return picture_task(
        image_table,
        name,
        frame,
        [folder / str(file) for file in frame[image]],
        label,
        groups,
        Pixels(size, cache, stream, skip_bad_images, grayscale),
        given=given_splits(name, frame, split_column),
        identity=identities(frame, identity),
        test=test,
        cal=cal,
        val=val,
        limit=limit,
        seed=seed,
    )


@DATASETS.register("image-folder")
def image_folder(
    path: Path,
    size: Count | None = None,
    grayscale: bool = False,
    cache: Path | None = None,
    stream: bool = False,
    skip_bad_images: bool = False,
    test: Share = 0.2,
    cal: Share = 0.1,
    val: Share = 0.1,
    seed: Seed = 0,
    limit: Count | None = None,
) -> Task:
    """Your images in a folder for each class, whose name is the class's.

    Terms: those of the data given; no groups are known: name them in a table and use image-table.

    Parameters
    ----------
    path : Path
        Folder of the classes' folders, or of ``train`` and, optionally, ``cal``, ``val`` and
        ``test`` with the classes' folders in each. Images may lie in folders further below.
    size : int, optional
        Resize to ``size x size``; needed when the images differ in size.
    grayscale : bool
        One channel instead of three.
    cache : Path, optional
        Folder in which to keep the decoded images, so that they are decoded once and take no
        memory; they are decoded anew when a file changes.
    stream : bool
        Decode each batch when it is needed, and keep nothing.
    skip_bad_images : bool
        Leave out images that do not decode, and count them in the notes, instead of stopping.
    test : float in (0, 0.5)
        Share of all examples, where no folder gives a test split.
    cal, val : float in (0, 0.5)
        Shares of the training split.
    seed : int
    limit : int, optional
        Use at most so many training examples, counted before cal and val.
    """
    name, path = "image-folder", Path(path)
    if not path.is_dir():
        raise InputError(f"{name}: no folder {path}; give that of the classes' folders")
    there = [split for split in SPLITS if (path / split).is_dir()]
    splits = there if "train" in there else ["train"]
    rows = []
    for split in splits:
        root = path / split if there and "train" in there else path
        for folder in sorted(f for f in root.iterdir() if f.is_dir()):
            images = (f for f in folder.rglob("*") if f.suffix.lower() in _IMAGES)
            rows += [(file, folder.name, split) for file in sorted(images)]
    if not rows:
        raise InputError(
            f"{name}: no images in folders below {path} (known endings:"
            f" {', '.join(sorted(_IMAGES))}); give the folder that holds one folder a class"
        )
    frame = pd.DataFrame(rows, columns=["file", "label", "split"])
    return picture_task(
        image_folder,
        name,
        frame,
        [file for file, *_ in rows],
        "label",
        (),
        Pixels(size, cache, stream, skip_bad_images, grayscale),
        given=given_splits(name, frame, "split"),
        test=test,
        cal=cal,
        val=val,
        seed=seed,
        limit=limit,
    )
