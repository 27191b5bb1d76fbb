"""What the guard runs: three small studies and one audit, by the command line alone.

Nothing of the package is imported, so that this stands still while its modules move. The data are
drawn as integers and words, so that every machine starts from the same.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
AUDIT = "audit"
BASE: dict[str, Any] = {"sparsities": [0.6], "seeds": [3], "resamples": 100}
STUDIES: dict[str, dict[str, Any]] = {
    "mlp": {
        "data": {
            "name": "table",
            "path": "people.csv",
            "target": "paid",
            "groups": ["sex"],
            "limit": 448,
            "seed": 1,
        },
        "model": {"name": "mlp", "hidden": [16, 12]},
        "training": {"epochs": 3, "batch_size": 16, "lr": 0.05, "warmup": 0.1},
        "cells": "class-group",
        "methods": [
            {"name": "lth", "levels": [0.4], "refinement": {"form": "penalty"}},
            # a budget that no round keeps, so that every round is repeated
            {
                "name": "ballot",
                "levels": [0.4],
                "tolerance": 1.0,
                "lambda_conflict": 2.0,
                "retries": 1,
                "budget": {"limit": 0.0, "measure": "range"},
            },
            {"name": "bifp", "finetune": 0.5, "form": "squared", "mask_lr": 0.5},
        ],
        "controls": ["offsets", "thresholds"],
    },
    "cnn": {
        "data": {
            "name": "image-table",
            "path": "shapes.csv",
            "split_column": "split",
            "grayscale": True,
        },
        "model": {"name": "small-cnn", "width": 4},
        "training": {
            "epochs": 4,
            "batch_size": 16,
            "lr": 0.05,
            "schedule": "one-cycle",
            "augment": ["crop", "flip"],
        },
        "cells": "class",
        "methods": [
            {
                "name": "lth",
                "levels": [0.4],
                "rewind": "lr",
                "criterion": "taylor",
                "grouping": "channel",
            },
            {
                "name": "ballot",
                "levels": [0.4],
                "tolerance": 1.0,
                "retries": 2,
                "alpha": 0.5,
                "combine": "rank",
                "quota": 1.0,
                "rewind_at": "search",
                "refinement": {"form": "margin"},
            },
            {"name": "bifp", "form": "hinge", "grouping": "channel", "mask_lr": 0.1},
        ],
    },
    "bert": {
        "data": {
            "name": "text",
            "path": "texts.csv",
            "groups": ["place"],
            "vocab_size": 100,
            "max_length": 12,
        },
        "model": {
            "name": "bert",
            "vocab_size": 100,
            "hidden": 16,
            "layers": 1,
            "heads": 2,
            "intermediate": 24,
        },
        "training": {
            "epochs": 4,
            "batch_size": 16,
            "lr": 0.01,
            "optimizer": "adamw",
            "grad_clip": 1.0,
        },
        "cells": "equalized-odds",
        "methods": [
            {"name": "lth", "levels": [0.4], "criterion": "obd"},
            {
                "name": "ballot",
                "levels": [0.4],
                "tolerance": 1.0,
                "retries": 2,
                "scope": "layerwise",
            },
            {"name": "bifp", "lower_steps": 2, "search": 0.5, "scope": "erk", "mask_lr": 0.5},
        ],
    },
}


def write_people(folder: Path) -> None:
    """A table of 560 people: numbers, categories, gaps, and a group unknown to some."""
    rng = np.random.default_rng(11)
    n = 560
    age, hours = rng.integers(18, 66, n), rng.integers(10, 60, n)
    job, sex = rng.integers(0, 4, n), rng.integers(0, 2, n)
    paid = age + hours + 12 * job + 10 * sex + rng.integers(-25, 26, n) > 100
    rows = ["age,hours,job,sex,paid"]
    for i in range(n):
        who = "" if i % 11 == 5 else ("f", "m")[sex[i]]
        work = "" if i % 13 == 7 else f"job {'abcd'[job[i]]}"
        rows.append(f"{age[i]},{hours[i]},{work},{who},{('no', 'yes')[int(paid[i])]}")
    (folder / "people.csv").write_text("\n".join(rows) + "\n")


def write_shapes(folder: Path) -> None:
    """360 grey pictures of 8x8: a row, a column or both, brighter than the noise around them."""
    rng = np.random.default_rng(12)
    (folder / "shapes").mkdir()
    rows = ["file,label,split"]
    for i in range(360):
        picture = rng.integers(0, 120, (8, 8))
        row, column = rng.integers(1, 7, 2)
        kind = ("across", "cross", "down")[i % 3]
        if kind != "down":
            picture[row] += 130
        if kind != "across":
            picture[:, column] += 130
        name = f"shapes/{i}.png"
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name)
        rows.append(f"{name},{kind},{('train', 'test')[i % 5 == 4]}")
    (folder / "shapes.csv").write_text("\n".join(rows) + "\n")


def write_texts(folder: Path) -> None:
    """500 lines of ten words by three places, one of them unknown to some."""
    rng = np.random.default_rng(13)
    good, plain = ("good", "nice"), ("day", "night", "film", "plot", "very", "so")
    bad, rows = ("bad", "awful"), ["text,label,place"]
    for i in range(500):
        happy = int(rng.integers(2))
        place = int(rng.integers(3))
        words = [plain[k] for k in rng.integers(0, 6, rng.integers(2, 7))]
        # the last place's writers say the opposite more often
        turned = rng.integers(10) < 1 + place
        words.append((good, bad)[happy ^ int(not turned)][int(rng.integers(2))])
        words = [words[k] for k in rng.permutation(len(words))]
        where = "" if i % 9 == 0 else "abc"[place]
        rows.append(f"{' '.join(words)},{happy},{where}")
    (folder / "texts.csv").write_text("\n".join(rows) + "\n")


def write_predictions(folder: Path) -> None:
    """Two models' scores of 900 people with two attributes; one crossing is rare, some unknown."""
    rng = np.random.default_rng(14)
    n, names = 900, ("no", "some", "yes")
    y, sex, age = rng.integers(0, 3, n), rng.integers(0, 2, n), rng.integers(0, 3, n)
    age = np.where((sex == 1) & (age == 2) & (rng.integers(0, 5, n) > 0), 0, age)
    for model, misses in (("dense", 8), ("sparse", 14)):
        wrong = rng.integers(0, 100, n) < misses * (1 + (sex == 1) + (y == 2))
        predicted = np.where(wrong, (y + rng.integers(1, 3, n)) % 3, y)
        scores = rng.integers(1, 20, (n, 3))
        scores[np.arange(n), predicted] += 25
        total = scores.sum(1)
        rows = ["id,y," + ",".join(f"score_{name}" for name in names)]
        for i in rng.permutation(n):
            shares = ",".join(f"{share / total[i]:.9f}" for share in scores[i])
            rows.append(f"{i},{names[y[i]]},{shares}")
        (folder / f"{model}.csv").write_text("\n".join(rows) + "\n")
    rows = ["id,sex,age"]
    for i in range(n):
        known = "" if i % 17 == 3 else ("young", "middle", "old")[age[i]]
        rows.append(f"{i},{('f', 'm')[sex[i]]},{known}")
    (folder / "groups.csv").write_text("\n".join(rows) + "\n")


def program(folder: Path, *args: str) -> None:
    """Run the command line in `folder`, whatever the caller's settings: one thread, no GPU.

    Torch draws initial weights, which stage keys name, by the instructions that it may use; those
    of AVX2 are had by nearly every x86 machine.
    """
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = script["fairsparse"].partition(":")
    own = ("ACCELERATE_", "ATEN_", "CUDA_", "DNNL_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "OPENBLAS_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    environment |= {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import {function}; {function}()", *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr


@cache
def home() -> Path:
    """A folder with all data, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="fairsparse-guard-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for write in (write_people, write_shapes, write_texts, write_predictions):
        write(folder)
    return folder


@cache
def study(name: str) -> dict[str, dict[str, Any]]:
    """What a study leaves, by golden file: audits and controls in one, all else in the other."""
    config, out = home() / f"{name}.yaml", home() / name
    config.write_text(yaml.safe_dump({**BASE, **STUDIES[name]}))
    program(home(), "run", config.name, "--out", out.name)
    keys = sorted(path.stem for path in (out / "stages").iterdir())
    everything: dict[str, Any] = {"stages": dict.fromkeys(keys, "stored")}
    audits = {}
    for method in (method["name"] for method in STUDIES[name]["methods"]):
        (folder,) = out.glob(f"{method}-*")
        record = json.loads((folder / "record.json").read_text())
        for varies in ("fairsparse", "environment", "timings", "memory"):
            del record[varies]
        audits[method] = {part: record.pop(part) for part in ("audit", "controls")}
        del record["config"]["least"]  # younger than the files
        record["method"]["options"] = options(record["method"]["options"])
        record["config"]["methods"] = [options(m) for m in record["config"]["methods"]]
        everything[method] = {"record": record, "tensors": tensors(folder)}
    return {name: everything, f"{name}-audits": audits}


@cache
def audit() -> dict[str, dict[str, Any]]:
    """The audit of the two files."""
    given = ("--reference", "dense.csv", "--candidate", "sparse.csv", "--groups", "groups.csv")
    program(home(), "audit", *given, "--resamples", "100", "--seed", "5", "--out", AUDIT)
    document = json.loads((home() / AUDIT / "audit.json").read_text())
    del document["fairsparse"]
    return {AUDIT: document}


def files() -> list[str]:
    """Names of all golden files."""
    return [AUDIT, *STUDIES, *(f"{name}-audits" for name in STUDIES)]


def present(file: str) -> dict[str, Any]:
    """What the code as it is gives for a golden file."""
    return (audit() if file == AUDIT else study(file.removesuffix("-audits")))[file]


def options(values: dict[str, Any]) -> list[str]:
    """``name = value`` of each option, sorted, whatever sub-object it is in.

    >>> options({"floor": 0.1, "refinement": {"floor": 0.2, "points": [1, 2]}, "budget": None})
    ['budget = null', 'floor = 0.1', 'floor = 0.2', 'points = [1, 2]']
    """
    named: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict):
            named += options(value)
        else:
            named.append(f"{name} = {json.dumps(value)}")
    return sorted(named)


def tensors(folder: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of layout and content of a run's masks, weights and predictions."""
    sparse = load_file(folder / "sparse.safetensors")
    kinds = {
        kind: {name: t.numpy() for name, t in sparse.items() if name.startswith(kind)}
        for kind in ("mask/", "model/")
    }
    dense = {name: t.numpy() for name, t in load_file(folder / "dense.safetensors").items()}
    with np.load(folder / "predictions.npz") as archive:
        predictions = dict(archive)
    return {
        "masks": hashes(kinds["mask/"]),
        "weights": hashes(kinds["model/"]),
        "dense": hashes(dense),
        "predictions": hashes(predictions),
    }


def hashes(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """SHA-256 of the names, types and shapes of arrays, and of their bytes."""
    layout = json.dumps([[k, str(arrays[k].dtype), arrays[k].shape] for k in sorted(arrays)])
    content = hashlib.sha256()
    for name in sorted(arrays):
        content.update(np.ascontiguousarray(arrays[name]).tobytes())
    return {
        "layout": hashlib.sha256(layout.encode()).hexdigest(),
        "content": content.hexdigest(),
    }
