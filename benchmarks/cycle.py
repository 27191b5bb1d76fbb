"""A full cycle of the papers' networks on this machine: seconds and peak memory.

Few training steps, but the real path: the dense network, predictions, Taylor scores and conflict,
masks, a refined ticket, the audit, the run written and read back, at the networks' full size.
ResNet-50 and VGG-16 take CIFAR-100, BERT-base the tweets of `tweets/davidson_dialect.csv.gz` in
DATA (columns tweet, label, dialect, split), or tweets made up where that file is absent. Each
network has a process of its own, so that its peak memory is its own; `results/cycle.json` keeps
what was measured.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import alone, peak_gib
from benchmarks.records import load, store

EXAMPLES, TESTED, STEPS = 200, 100, 4
BERT_BASE = {"vocab_size": 30522, "hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet50": {"model": "resnet50", "data": "cifar-100"},
    "vgg16": {"model": "vgg16_bn", "data": "cifar-100"},
    "vgg16, full head": {"model": "vgg16", "data": "cifar-100", "options": {"stem": "imagenet"}},
    "bert-base": {"model": "bert", "data": "text", "options": BERT_BASE},
}


def cycle(name: str, data: Path) -> dict[str, Any]:
    """Run one network's cycle in this process."""
    import torch

    import fairsparse
    from fairsparse.models import build

    setting = NETWORKS[name]
    began = time.perf_counter()
    task = make_task(setting["data"], data)
    model = build(setting["model"], task.input_shape, task.n_classes, **setting.get("options", {}))
    result = fairsparse.prune(
        model,
        task,
        "ballot",
        0.9,
        levels=[0.5],
        cells="class",
        training={"epochs": 1, "batch_size": len(task.train) // STEPS, "lr": 1e-3},
        search={"retries": 0},
        resamples=200,
    )
    with tempfile.TemporaryDirectory() as folder:
        where = result.save(Path(folder) / "run")
        size = sum(f.stat().st_size for f in Path(where).rglob("*") if f.is_file())
        again = fairsparse.load(where, model)
        assert again.masks.digest() == result.masks.digest()
        assert again.masks.is_applied(again.model)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "prunable": result.masks.n_total,
        "sparsity": round(result.masks.sparsity, 4),
        "steps": result.record.cost.steps,
        "batch": len(task.train) // STEPS,
        "seconds": round(time.perf_counter() - began, 1),
        "peak_gib": peak_gib(),
        "run_directory_gib": round(size / 2**30, 2),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def make_task(name: str, data: Path) -> Any:
    """A few examples of the real set."""
    import torch

    whole = _whole(name, data)
    every = torch.arange(len(whole.test)).tensor_split(TESTED)
    test = whole.test.subset(torch.stack([part[0] for part in every]))
    return replace(whole, test=test, fingerprint="")


def _whole(name: str, data: Path) -> Any:
    from fairsparse import DATASETS

    if name == "cifar-100":
        return DATASETS[name](data, labels="coarse", limit=EXAMPLES)
    path = data / "tweets" / "davidson_dialect.csv.gz"
    columns: dict[str, Any] = {"text": "tweet", "groups": ("dialect",), "unknown": ("-1",)}
    if not path.is_file():
        path = Path(tempfile.mkdtemp()) / "made_up.csv"
        rows = [f"word{i % 97} word{i % 31} and so on,{i % 3},{i // 3 % 2}" for i in range(8000)]
        path.write_text("tweet,label,dialect\n" + "\n".join(rows) + "\n")
    return DATASETS["text"](path, **columns, limit=EXAMPLES, max_length=64, test=0.02)


def arguments(parser: ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=list(NETWORKS))


def main(args: Namespace) -> None:
    """Run every network in a process of its own, print and record what it took."""
    for name in [args.only] if args.only else NETWORKS:
        measured = alone(cycle, name, args.data)
        print(name, json.dumps(measured, indent=2), flush=True)
        store("cycle", {**load("cycle"), name: measured, "cpus": os.cpu_count()})
