"""Files from elsewhere: bounded before memory is taken, and each reader refuses in one line."""

from __future__ import annotations

import gzip
import io
import random
import signal
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import READERS, mutated, outcome
from fairsparse.auditing.inputs.columns import Columns, read
from fairsparse.core import InputError
from fairsparse.data.files.table import read_table
from fairsparse.foreign import MOST_COLUMNS, check_table, read_npz


@cache
def original(name: str) -> tuple[Path, bytes]:
    import tempfile

    file, make, _ = READERS[name]
    path = Path(tempfile.mkdtemp(prefix="fairsparse-fuzz-")) / file
    make(path)
    return path, path.read_bytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(READERS))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_a_mutated_file_is_read_or_refused(name: str, seed: int) -> None:
    path, content = original(name)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    path.write_bytes(mutated(content, random.Random(seed)))
    assert outcome(READERS[name][2], path) in ("read", "refused")


def header(shape: tuple[int, ...], descr: object, version: bytes = b"\x01\x00") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def npz(path: Path, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"{name}.npy", content)
    return path


BOMBS: dict[str, dict[str, bytes]] = {
    "a shape without data": {"y": header((10**12,), "<i8")},
    "a shape of nothing": {"y": header((10**12,), "|S0")},
    "a product beyond 64 bits": {"y": header((2**33, 2**33), "<i8")},
    "objects": {"y": header((3,), "|O") + b"cos\nsystem\n"},
    "records": {"y": header((1,), [("a", "<i8"), ("b", "<i8")]) + bytes(16)},
    "a later version": {"y": header((1,), "<i8", b"\x03\x00") + bytes(8)},
    "zeros": {"y": header((2**26,), "<i8") + bytes(2**29)},
}


@pytest.mark.parametrize("kind", list(BOMBS))
def test_an_array_is_held_against_its_file_first(kind: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "bomb.npz", **BOMBS[kind])
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    for reading in (
        lambda: read(str(path), Columns()),
        lambda: read_npz(io.BytesIO(path.read_bytes()), path),
    ):
        with pytest.raises(InputError, match=r"bomb\.npz: (cannot be read|its .* bytes unfold)"):
            reading()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3).T,
        "b": np.array(["x", "yy"]),
        "c": np.array(3),
        "d": np.zeros((0, 2), ">i4"),
        "e": np.zeros(2**22),  # of few bytes on disk, and of no danger
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz", "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def many_columns(path: Path) -> None:
    path.write_text(",".join(f"c{i}" for i in range(MOST_COLUMNS + 1)) + "\n")


def endless_line(path: Path) -> None:
    path.write_bytes(b"a" * (2**25 + 1))


def packed(path: Path) -> None:
    with gzip.open(path, "wb", 9) as file:
        file.write(b"a\n")
        for _ in range(300):
            file.write(bytes(2**20))


def many_rows(path: Path) -> None:
    zeros = np.zeros(2**25, np.int8)
    pd.DataFrame({"y": zeros, "prediction": zeros}).to_parquet(path, index=False)


TABLES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "columns": ("a.csv", many_columns, "has 100,001 columns; at most 100,000"),
    "a line": ("a.csv", endless_line, "its first line, with the names of columns, has no end"),
    "gzip": ("a.csv.gz", packed, "bytes unfold to"),
    "Parquet": ("a.parquet", many_rows, "bytes unfold to"),
}


@pytest.mark.parametrize("kind", list(TABLES))
def test_a_table_is_held_against_its_file_first(kind: str, tmp_path: Path) -> None:
    file, make, words = TABLES[kind]
    path = tmp_path / file
    make(path)
    with pytest.raises(InputError, match=words):
        read_table("t", path)
    if ".gz" not in file:
        with pytest.raises(InputError, match=words):
            read(str(path), Columns())


def test_usual_tables_are_let_through(tmp_path: Path) -> None:
    frame = pd.DataFrame({"y": np.arange(2**16) % 3, "prediction": 1})
    for name, write in (("a.parquet", frame.to_parquet), ("a.csv", frame.to_csv)):
        write(tmp_path / name, index=False)
        check_table(tmp_path / name)
    check_table(tmp_path / "gone.csv")  # told by who reads it
