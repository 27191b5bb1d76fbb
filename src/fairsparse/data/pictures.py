"""What the sets of image files share: options, leaving out bad files, where pixels are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fairsparse.data.builders import terms
from fairsparse.data.decode import load_images
from fairsparse.data.generic import Labels, assemble, in_order
from fairsparse.data.rows import Rows, Streamed, stored_images, undecodable
from fairsparse.data.splits import Ints, divide
from fairsparse.data.task import Task
from fairsparse.types import InputError

_NAMED = 5


@dataclass(frozen=True)
class Pixels:
    """How image files become inputs.

    Attributes
    ----------
    size : int or None
        Resize to ``size x size``.
    cache : Path or None
        Folder in which to keep the decoded images of the whole set.
    stream : bool
        Decode each batch when it is needed.
    skip_bad_images : bool
        Leave out files that do not decode.
    grayscale : bool
    """

    size: int | None = None
    cache: Path | None = None
    stream: bool = False
    skip_bad_images: bool = False
    grayscale: bool = False

    def __post_init__(self) -> None:
        if self.cache is not None and self.stream:
            raise InputError("cache keeps decoded images and stream keeps none; set one of them")

    def read(self, name: str, files: Sequence[Path], order: Ints) -> Tensor | Rows:
        """Return the images at `order`: in memory, in a file of `cache`, or to be streamed."""
        if self.cache is not None:
            stored = stored_images(name, files, Path(self.cache), self.size, self.grayscale)
            return stored.select(torch.from_numpy(order))
        if self.stream:
            return Streamed(name, files, self.size, self.grayscale, torch.from_numpy(order))
        return load_images(name, [files[i] for i in order], self.size, self.grayscale)


def picture_task(
    builder: Callable[..., Task],
    name: str,
    frame: pd.DataFrame,
    files: Sequence[Path],
    target: str,
    groups: Sequence[str],
    pixels: Pixels,
    *,
    given: npt.NDArray[Any] | None = None,
    identity: npt.NDArray[Any] | None = None,
    notes: Sequence[str] = (),
    **shares: Any,
) -> Task:
    """Make the task of a table with one row per image file.

    Parameters
    ----------
    builder : callable
        Of the set; its docstring has the terms.
    frame : DataFrame
        Columns `target` and `groups`, a row for each of `files`.
    given, identity, shares
        As in `divide`.
    notes : sequence of str
        What was left out, after the terms.
    """
    notes = [terms(builder), *notes]
    if pixels.skip_bad_images:
        bad = undecodable(name, files, pixels.size, pixels.grayscale)
        if len(bad) == len(files):
            raise InputError(
                f"{name}: none of the {len(files)} images decodes (first: {files[0]}); check that"
                " path is where they are"
            )
        if bad:
            keep = np.delete(np.arange(len(files)), bad).tolist()
            named = ", ".join(files[i].name for i in bad[:_NAMED])
            notes.append(
                f"{len(bad)} of {len(files)} images do not decode and were left out: {named}"
                f"{', ...' if len(bad) > _NAMED else ''}."
            )
            frame, files = frame.iloc[keep].reset_index(drop=True), [files[i] for i in keep]
            given = None if given is None else given[keep]
            identity = None if identity is None else identity[keep]
    labels = Labels.of_columns(name, frame, target, groups)
    parts = divide(labels.y, labels.group, given=given, identity=identity, **shares)
    x = pixels.read(name, files, in_order(parts))
    return assemble(name, x, labels, parts, " ".join(notes))


def yes_or_no(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Name both values of attributes, absent first."""
    result = frame.copy()
    for column in columns:
        if frame[column].dtype == bool:
            names = [f"not {column}", column]
            result[column] = pd.Categorical.from_codes(frame[column].astype(int), names)
    return result
