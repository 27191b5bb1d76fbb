"""Damaged and hostile files: every reader reads one or refuses it in a line, in time and memory.

For each reader a file that it reads is made, and `--files` mutations of it: bytes changed, cut out,
repeated and put elsewhere, numbers made huge. Of archives the parts are mutated too, of texts the
words. Each reader runs in a process of its own, whose memory is measured. What counts as a failure:
an error other than `InputError`, one of more than a line, more than 10 s for a file, or more than
1 GiB for the process. Prints a table; exits 1 where anything failed.
"""

from __future__ import annotations

import io
import json
import random
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import alone, peak_gib
from fairsparse.core import InputError

SECONDS, GIB = 10, 1.0
_WORDS = [b"99999999999", b"-1", b"nan", b"null", b"\x00", b"\xff" * 4, b"\xff\xff\xff\x7f", b"&a"]
_WORDS += [b"*a", b'"', b"[" * 2000, b"{", b",", b"\r\n", b"1e308", b"\xc3\x28", b"!!python/x"]


def _frame() -> Any:
    import pandas as pd

    y = np.arange(60) % 3
    return pd.DataFrame({"id": np.arange(60), "y": y, "prediction": y[::-1], "sex": y % 2})


def _npz(path: Path) -> None:
    np.savez_compressed(path, **{k: v.to_numpy() for k, v in _frame().items()})


def _image(path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def _policy(path: Path) -> None:
    path.write_text(
        "rules:\n  - accuracy.change.lower >= -0.1\n  - rule: age/worst_drop.upper <= 0.02\n"
        "    exempt: {until: 2099-12-31, reason: the next release}\n    candidate: a\n"
    )


def _stage(path: Path) -> None:
    import torch

    from fairsparse.checkpoint import Stages

    Stages(path.parent).save(path.stem, {"w": torch.ones(40), "m": torch.ones(9) > 0}, {"n": [1]})


def _record(path: Path) -> None:
    import fairsparse

    config = {
        "data": {"name": "digits", "limit": 200},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 1},
        "methods": "magnitude",
        "resamples": 100,
    }
    fairsparse.run(fairsparse.make_config(config), path.parent)


def _pt2(path: Path) -> None:
    import torch

    batch = torch.export.Dim("batch")
    program = torch.export.export(
        torch.nn.Linear(4, 3), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)


def _read_predictions(path: Path) -> None:
    from fairsparse.auditing.inputs.columns import Columns, read

    read(str(path), Columns(), None)


def _read_table(path: Path) -> None:
    from fairsparse.data.files.table import read_table

    read_table("table", path)


def _read_image(path: Path) -> None:
    from fairsparse.data.files.images import Decoder, load_images

    load_images(Decoder("images"), [path])


def _read_policy(path: Path) -> None:
    from fairsparse.auditing.gate import read_policy

    read_policy(path)


def _read_config(path: Path) -> None:
    from fairsparse.experiments.config import read_config

    read_config(path)


def _read_stage(path: Path) -> None:
    from fairsparse.checkpoint import Stages

    Stages(path.parent).load(path.stem)


def _read_run(path: Path) -> None:
    import fairsparse

    fairsparse.load(path.parent)


def _read_document(path: Path) -> None:
    from fairsparse.auditing.document import read_document

    read_document(path)


def _document(path: Path) -> None:
    import fairsparse
    from fairsparse.auditing.document import document

    frame = _frame()
    audited = fairsparse.audit(frame["y"], frame["prediction"], frame["y"], resamples=20)
    path.write_text(json.dumps(document(audited)))


def _run_pt2(path: Path) -> None:
    import torch

    from fairsparse.auditing.inputs.networks import Network

    Network(str(path), torch.zeros(2, 4))(torch.zeros(2, 4))


READERS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], None]]] = {
    "NPZ": ("a.npz", _npz, _read_predictions),
    "Parquet": ("a.parquet", lambda p: _frame().to_parquet(p, index=False), _read_predictions),
    "CSV": ("a.csv", lambda p: _frame().to_csv(p, index=False), _read_predictions),
    "CSV, data": ("a.csv", lambda p: _frame().to_csv(p, index=False), _read_table),
    "JSON lines, data": (
        "a.jsonl",
        lambda p: _frame().to_json(p, orient="records", lines=True),
        _read_table,
    ),
    "Parquet, data": ("a.parquet", lambda p: _frame().to_parquet(p, index=False), _read_table),
    "YAML policy": ("p.yaml", _policy, _read_policy),
    "YAML of a run": ("config.yaml", _record, _read_config),
    "record": ("record.json", _record, _read_run),
    "predictions of a run": ("predictions.npz", _record, _read_run),
    "weights of a run": ("sparse.safetensors", _record, _read_run),
    "audit.json": ("audit.json", _document, _read_document),
    "stage": ("a.safetensors", _stage, _read_stage),
    **{
        f"image, {e}": (f"a.{e}", _image, _read_image) for e in ("png", "jpg", "gif", "webp", "tif")
    },
    ".pt2": ("a.pt2", _pt2, _run_pt2),
}
"""Reader -> the name of its file, what makes one, and what reads it."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The bytes of a file after one to eight changes; of an archive, perhaps those of a part."""
    if content[:2] == b"PK" and rng.random() < 0.7:
        return _part_mutated(content, rng)
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([1, 2, 4, 8, 64]))
        match rng.randrange(5):
            case 0:
                data[at:end] = rng.randbytes(end - at)
            case 1:
                data[at:end] = b""
            case 2:
                data[at:at] = data[at:end] * rng.choice([1, 2, 50])
            case 3:
                data[at:end] = rng.choice(_WORDS)
            case _ if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


def _part_mutated(content: bytes, rng: random.Random) -> bytes:
    """Another archive that is whole, with one of its parts mutated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        chosen = rng.choice(old.infolist())
        for item in old.infolist():
            part = old.read(item)
            new.writestr(item, mutated(part, rng) if item is chosen and part else part)
    return buffer.getvalue()


def outcome(read: Callable[[Path], None], path: Path) -> str:
    """``read``, ``refused``, or what went wrong."""
    began = time.monotonic()
    signal.alarm(SECONDS)
    try:
        read(path)
        found = "read"
    except InputError as error:
        found = "refused" if "\n" not in str(error) else f"lines: {str(error)[:200]!r}"
    except TimeoutError:
        found = "hang"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        found = (
            f"{type(error).__name__}: {str(error)[:80]} ({Path(last.filename).name}:{last.lineno})"
        )
    finally:
        signal.alarm(0)
    return found if time.monotonic() - began < SECONDS else "hang"


def _stopped(*_: object) -> None:
    raise TimeoutError


def fuzz(name: str, files: int, seed: int, keep: str | None = None) -> dict[str, Any]:
    """Mutate `files` files of one reader: outcomes, longest seconds, and peak GiB."""
    file, make, read = READERS[name]
    signal.signal(signal.SIGALRM, _stopped)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        make(path)
        content = path.read_bytes()
        read(path)  # as it is, and so that importing is no part of what is measured
        for i in range(files):
            data = mutated(content, random.Random(f"{name} {seed} {i}"))
            path.write_bytes(data)
            began = time.monotonic()
            found = outcome(read, path)
            slowest = max(slowest, time.monotonic() - began)
            outcomes[found] += 1
            if keep and found not in ("read", "refused"):
                (Path(keep) / f"{i}-{file}").write_bytes(data)
    return {"outcomes": outcomes, "seconds": slowest, "GiB": peak_gib()}


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=list(READERS), help="this one alone")
    parser.add_argument("--keep", help="folder for files that failed")


def main(args: Namespace) -> None:
    """Fuzz every reader, and print a line for each."""
    print("| reader | files | read | refused | longest, s | peak, GiB |\n|---|---|---|---|---|---|")
    wrong = []
    for name in [args.reader] if args.reader else READERS:
        found = alone(fuzz, name, args.files, args.seed, args.keep)
        outcomes = found["outcomes"]
        done = outcomes.pop("read", 0), outcomes.pop("refused", 0)
        measured = f"{found['seconds']:.2f} | {found['GiB']:.2f}"
        print(f"| {name} | {args.files} | {done[0]} | {done[1]} | {measured} |", flush=True)
        wrong += [f"{name}: {what} ({n} times)" for what, n in outcomes.items()]
        wrong += [f"{name}: {found['GiB']:.2f} GiB"] if found["GiB"] > GIB else []
    print("\n".join(wrong) or "No traceback, no hang, no file beyond its memory.")
    sys.exit(bool(wrong))
