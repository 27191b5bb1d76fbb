"""Resident memory and speed of training on more images than are to be held in memory.

Writes JPEG files of noise under FOLDER (a temporary one by default), with a table beside them,
builds the task with a cache, trains one epoch and predicts the test split, in a process of its
own. `results/memory.json` keeps what was measured; the limit is 2 GiB.
"""

from __future__ import annotations

import json
import tempfile
import time
from argparse import ArgumentParser, Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measure import alone, peak_gib
from benchmarks.records import store


def write(folder: Path, images: int, side: int) -> None:
    """Write the images and their table, where they are not there yet."""
    table = folder / "images.csv"
    if table.exists():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)

    def one(i: int) -> None:
        rng = np.random.default_rng(i)
        small = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / "images" / f"{i}.jpg", quality=85)

    with ThreadPoolExecutor() as pool:
        for at in range(0, images, 4096):
            list(pool.map(one, range(at, min(at + 4096, images))))
    rows = [f"images/{i}.jpg,{i % 2},{i // 2 % 3}" for i in range(images)]
    table.write_text("file,label,place\n" + "\n".join(rows) + "\n")


def measure(folder: Path, side: int, workers: int) -> dict[str, Any]:
    """Build the task, train and predict in this process."""
    import torch

    from fairsparse import DATASETS, MODELS, Cells, Recipe, Trainer
    from fairsparse.training import Loop

    began = time.perf_counter()
    options = {"groups": ("place",), "cache": folder / "cache"}
    task = DATASETS["image-table"](folder / "images.csv", **options)
    built, after = time.perf_counter() - began, peak_gib()
    recipe = Recipe(
        epochs=1, lr=0.05, precision="bf16", channels_last=True, augment=("flip",), workers=workers
    )
    trainer = Trainer(recipe, Cells("class", task.class_names, task.group_names))
    model = MODELS["small-cnn"](task.input_shape, task.n_classes)
    began = time.perf_counter()
    Loop(trainer, model, task.train, stage="dense").finish()
    trained = time.perf_counter() - began
    trainer.predict(model, task.test)
    images = sum(len(getattr(task, s)) for s in ("train", "cal", "val", "test"))
    return {
        "images": images,
        "side": side,
        "pixels_gib": round(images * 3 * side * side / 2**30, 2),
        "seconds_to_build": round(built, 1),
        "peak_gib_after_building": after,
        "images_a_second_in_training": round(len(task.train) / trained),
        "peak_gib": peak_gib(),
        "workers": workers,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path)


def main(args: Namespace) -> None:
    """Write the images, measure a first and a second start, print and record."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        write(folder, args.images, args.side)
        result = {
            start: alone(measure, folder, args.side, args.workers)
            for start in ("first_start", "second_start")
        }
    store("memory", result)
    print(json.dumps(result, indent=2))
