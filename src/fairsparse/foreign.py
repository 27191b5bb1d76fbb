"""Files from elsewhere: how much memory they may ask for is known before they are read."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet

from fairsparse.core import InputError

FREE = 2**28
"""Bytes that any file may unfold to, however small it is."""
RATIO = 128
"""Bytes that each byte of a larger file may unfold to; labels of few classes reach some dozens."""
MOST_COLUMNS = 100_000
_HEAD = 2**25  # bytes in which the names of all columns are expected


def check_unfolded(path: object, size: int, stored: int, what: str = "bytes") -> None:
    """Raise `InputError` when `stored` bytes of a file stand for improbably many, `size`."""
    if size > max(FREE, RATIO * stored):
        raise InputError(
            f"{path}: its {stored:,} bytes unfold to {size:,} {what}, more than"
            f" {RATIO} for each; write it again without compression, or in parts"
        )


def read_npz(file: Path | io.BytesIO, name: object) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of an NPZ file called `name`; nothing is unpickled.

    All headers are read first, and what they ask for is held against the file. `InputError` where
    it is no such file, is damaged, or holds objects.
    """
    try:
        stored = file.getbuffer().nbytes if isinstance(file, io.BytesIO) else file.stat().st_size
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            check_unfolded(name, sum(e.file_size for e in entries), stored)
            for entry in entries:
                _check_header(archive, entry)
            arrays = {}
            for entry in entries:
                with archive.open(entry) as part:
                    array = np.lib.format.read_array(part, allow_pickle=False)
                arrays[entry.filename.removesuffix(".npy")] = array
            return arrays
    except InputError:
        raise
    except Exception as error:  # a damaged archive can raise anything
        raise InputError(
            f"{name}: cannot be read ({' '.join(str(error).split())[:160]}); it must hold arrays"
            " of numbers or text, as numpy.savez writes them"
        ) from None


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(entry) as part:
        version = np.lib.format.read_magic(part)
        if version not in readers:
            raise ValueError(f"{entry.filename} is of version {version}")
        shape, _, dtype = readers[version](part)
        left = entry.file_size - part.tell()
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{entry.filename} is of {dtype}")
    values = math.prod(map(int, shape))
    if values * dtype.itemsize != left or (values and not dtype.itemsize):
        raise ValueError(f"{entry.filename} says {shape} of {dtype} and has {left:,} bytes")


def check_table(path: Path) -> None:
    """Raise `InputError` where a table asks for more than its size can explain.

    A Parquet file says how many rows and bytes it unfolds to; of a compressed text that is
    counted; and one of more than 100,000 columns is refused. Files of other kinds, and damaged
    ones, are left to who reads them.
    """
    if path.suffix == ".parquet":
        _check_parquet(path)
    else:
        _check_text(path)


def _check_parquet(path: Path) -> None:
    try:
        about = pyarrow.parquet.read_metadata(path)
        unfolded = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        rows, columns = about.num_rows, about.num_columns
    except Exception:  # damaged: told by who reads it
        return
    stored = path.stat().st_size
    check_unfolded(path, unfolded, stored)
    check_unfolded(path, 8 * rows * columns, stored)
    _check_columns(path, columns)


def _check_text(path: Path) -> None:
    try:
        stored = path.stat().st_size
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.readline(_HEAD)
            unfolded = len(head)
            while path.suffix == ".gz" and (piece := file.read(2**20)):
                unfolded += len(piece)
                check_unfolded(path, unfolded, stored)
    except (OSError, EOFError):
        return
    if len(head) == _HEAD:
        raise InputError(f"{path}: its first line, with the names of columns, has no end")
    if ".csv" in path.suffixes:
        _check_columns(path, 1 + max(head.count(mark) for mark in (b",", b";", b"\t")))


def _check_columns(path: Path, n: int) -> None:
    if n > MOST_COLUMNS:
        raise InputError(f"{path}: has {n:,} columns; at most {MOST_COLUMNS:,} are read")
