"""Golden files: what they hold, and how they are compared with what the code gives.

The bits of a trained network are those of one kind of machine, so each file names the one that
wrote it. There every leaf is compared bit by bit. Elsewhere all that rounding does not reach is
compared exactly: stage keys, names, sizes, settings, data, what is recorded and what is undefined.
A figure that was measured on a trained network is then compared by its type alone, and one that
was computed from given predictions to six digits. Without AVX2 even initial weights have other
bits, and stage keys, which name them, are not compared.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent / "golden"
PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "tokenizers", "transformers")

MEASURED = re.compile(
    r"(lth|ballot|bifp)/("
    r"record/(masks$|cost/|rounds/|counts/|validation/|history/|model/layers/\d+/kept$)"
    r"|tensors/\w+/content$"
    r"|audit/|controls/)"
)
"""Paths below which a trained network shows."""
SIZES = {"n", "step", "epoch", "sparsity", "resamples", "seed", "gap_limit"}
"""Figures there that do not depend on it."""
WORDS = {"masks", "content", "worst_cell", "how"}
"""Texts there that do."""
LENGTHS = re.compile(r"(?<=record/history/)\d+")
"""Lists there whose length does: a search decides at which step a round begins."""


def machine() -> dict[str, str]:
    """What the bits of a result depend on."""
    return {
        "cpu": cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def cpu() -> str:
    """Name, family and model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    pairs = (line.partition(":") for line in lines)
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    return " ".join(facts.get(key, "-") for key in ("model name", "cpu family", "model"))


def read(file: str) -> dict[str, Any]:
    """A golden file.

    ``machine`` wrote the ``content``; ``allowed`` are patterns of paths that have come since, such
    as ``.*/record/version``.
    """
    return json.loads((FOLDER / f"{file}.json").read_text())


def write(file: str, content: dict[str, Any], allowed: list[str]) -> None:
    """Write a golden file of this machine."""
    FOLDER.mkdir(exist_ok=True)
    values = {"machine": machine(), "allowed": allowed, "content": content}
    (FOLDER / f"{file}.json").write_text(text(values) + "\n")


def text(value: Any, indent: str = "") -> str:
    """JSON with what holds no other list or mapping on one line."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(item, (dict, list)) for item in inner):
        return json.dumps(value)
    deeper = indent + " "
    if isinstance(value, dict):
        lines = [f"{json.dumps(name)}: {text(item, deeper)}" for name, item in value.items()]
    else:
        lines = [text(item, deeper) for item in value]
    open_, close = "{}" if isinstance(value, dict) else "[]"
    return f"{open_}\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{indent}{close}"


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf by its path; an empty list or mapping is one.

    >>> leaves({"a": [1, {"b": None}], "c": {}})
    {'a/0': 1, 'a/1/b': None, 'c': {}}
    """
    if not isinstance(value, (dict, list)) or not value:
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {
        place: leaf
        for name, item in items
        for place, leaf in leaves(item, f"{path}/{name}" if path else str(name)).items()
    }


def differences(golden: Any, present: Any, bits: bool, allowed: Sequence[str] = ()) -> list[str]:
    """One line for each leaf that is missing, new or another.

    With `bits`, leaves are compared as JSON writes them, which is exact for floats and tells 1
    from 1.0 and 0.0 from -0.0; otherwise as the head of this file says. Leaves whose path begins
    as one of the patterns in `allowed` may be new.
    """
    was, now = leaves(golden), leaves(present)
    if not bits and machine()["capability"] not in ("AVX2", "AVX512"):
        was, now = ({k: v for k, v in side.items() if k[:7] != "stages/"} for side in (was, now))
    if not bits:
        was, now = ({LENGTHS.sub("*", k): v for k, v in side.items()} for side in (was, now))

    def free(path: str) -> bool:
        return any(re.match(pattern, path) for pattern in allowed)

    return [
        *(f"{path}: gone, was {was[path]!r}" for path in was if path not in now),
        *(f"{path}: new, is {now[path]!r}" for path in now if path not in was and not free(path)),
        *(
            f"{path}: was {was[path]!r}, is {now[path]!r}"
            for path in was
            if path in now and not same(path, was[path], now[path], bits)
        ),
    ]


def same(path: str, was: Any, now: Any, bits: bool) -> bool:
    """Whether two leaves are equal, as far as this machine can tell."""
    if bits or type(was) is not type(now):
        return json.dumps(was) == json.dumps(now)
    last = path.rpartition("/")[2]
    if MEASURED.match(path):
        if isinstance(was, str):
            return last in WORDS or was == now
        if type(was) in (int, float) and last not in SIZES:
            return math.isfinite(now)
    if isinstance(was, float):
        return math.isclose(was, now, rel_tol=1e-6, abs_tol=1e-9)
    return bool(was == now)
