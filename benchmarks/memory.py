"""Resident memory and speed of training on more images than are to be held in memory.

    python benchmarks/memory.py [--images 200000] [--side 64] [--folder FOLDER]

Writes JPEG files of noise under FOLDER (a temporary one by default), with a table beside them,
builds the task with a cache, trains one epoch and predicts the test split, in a process of its
own. `results/memory.json` keeps what was measured; the limit is 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RESULT = Path(__file__).resolve().parent / "results" / "memory.json"


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

    def peak() -> float:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)

    began = time.perf_counter()
    options = {"groups": ("place",), "cache": folder / "cache"}
    task = DATASETS["image-table"](folder / "images.csv", **options)
    built, after = time.perf_counter() - began, peak()
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
        "peak_gib": peak(),
        "workers": workers,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Write the images, measure a first and a second start, print and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.folder, args.side, args.workers)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or Path(made)
        write(folder, args.images, args.side)
        command = [sys.executable, *sys.argv, "--one", "--folder", str(folder)]
        done = [
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True) for _ in range(2)
        ]
    first, second = (json.loads(d.stdout.splitlines()[-1]) for d in done)
    result = {"first_start": first, "second_start": second}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
