"""Arrays from files that are not to be trusted: pickles and idx files."""

from __future__ import annotations

import gzip
import math
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairsparse.core import InputError


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 writes bytes as text to be encoded; the general function would look up any codec.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as '{encoding}'")
    return text.encode(encoding)


_reconstruct = np.empty(0).__reduce__()[0]
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,  # written by numpy 1
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise InputError(
                f"it asks for '{module}.{name}'; only numpy arrays and plain containers are"
                " admitted: fetch the official file again"
            )
        return _ADMITTED[module, name]


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle of numpy arrays, numbers, text and plain containers.

    Text that Python 2 wrote comes back as bytes. No function of the file's choosing is called: one
    that names any other global, or is no readable pickle, is an `InputError`.
    """
    try:
        with path.open("rb") as file:
            return _Arrays(file, encoding="bytes").load()
    except InputError as error:
        raise InputError(f"{path} was not read: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(
            f"{path} is no readable pickle ({type(error).__name__}: {error}); fetch the official"
            " file again"
        ) from error


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, plain or gzip; a damaged one is an `InputError`."""
    magic = 0x0800 + dimensions
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again") from error
    head = 4 * (1 + dimensions)
    if len(data) < head or struct.unpack(">I", data[:4])[0] != magic:
        raise InputError(
            f"{path} begins with {data[:4].hex() or 'nothing'}; an idx file of bytes in"
            f" {dimensions} dimensions begins with {magic:08x}: fetch it again"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    if len(data) != head + math.prod(shape):
        raise InputError(
            f"{path} has {len(data)} bytes; its header, {' x '.join(map(str, shape))}, asks for"
            f" {head + math.prod(shape)}: fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
