"""Your images: named in a table, or in a folder for each class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fairsparse.core import InputError
from fairsparse.data.assembly import image_task
from fairsparse.data.files.images import ImageFiles
from fairsparse.data.files.table import read_table, require
from fairsparse.data.labels import Columns
from fairsparse.data.registry import dataset
from fairsparse.data.splits import Assigned, Held
from fairsparse.data.task import SPLITS, Task

_IMAGES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)


@dataset("image-table")
def image_table(
    path: Path,
    image: str = "file",
    label: str = "label",
    groups: tuple[str, ...] = (),
    *,
    columns: Columns,
    root: Path | None = None,
    images: ImageFiles,
    held: Held,
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
    identity : str, optional
        Column that says whose image it is; no identity is then in two splits.
    root : Path, optional
        Folder to which file names are relative; that of the table when absent.
    size : int, optional
        Resize to ``size x size``; needed when the images differ in size.
    test : float in (0, 0.5)
        Share of all examples, where no column gives a test split.
    """
    name = "image-table"
    frame = read_table(name, path, columns.missing)
    require(name, frame, [image, label, *groups, *columns.names])
    if frame[image].isna().any():
        row = int(frame[image].isna().argmax()) + 1
        raise InputError(f"{name}: column '{image}' names no file in row {row}; fill it in")
    assigned = columns.assigned(name, frame)
    folder = path.parent if root is None else root
    frame.index = pd.Index([folder / str(file) for file in frame[image]])
    return image_task(name, frame, label, groups, images, held, assigned)


@dataset("image-folder")
def image_folder(path: Path, *, images: ImageFiles, held: Held) -> Task:
    """Your images in a folder for each class, whose name is the class's.

    Terms: those of the data given; no groups are known: name them in a table and use image-table.

    Parameters
    ----------
    path : Path
        Folder of the classes' folders, or of ``train`` and, optionally, ``cal``, ``val`` and
        ``test`` with the classes' folders in each. Images may lie in folders further below.
    size : int, optional
        Resize to ``size x size``; needed when the images differ in size.
    test : float in (0, 0.5)
        Share of all examples, where no folder gives a test split.
    """
    name = "image-folder"
    if not path.is_dir():
        raise InputError(f"{name}: no folder {path}; give that of the classes' folders")
    roots = {split: path / split for split in SPLITS if (path / split).is_dir()}
    if "train" not in roots:
        roots = {"train": path}
    rows = []
    for split, root in roots.items():
        for folder in sorted(f for f in root.iterdir() if f.is_dir()):
            files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _IMAGES)
            rows += [(file, folder.name, split) for file in files]
    if not rows:
        raise InputError(
            f"{name}: no images in folders below {path} (known endings:"
            f" {', '.join(sorted(_IMAGES))}); give the folder that holds one folder a class"
        )
    frame = pd.DataFrame(rows, columns=["file", "label", "split"]).set_index("file")
    assigned = Assigned(frame["split"].to_numpy(dtype=object))
    return image_task(name, frame, "label", (), images, held, assigned)
