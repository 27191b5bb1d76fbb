"""From a CSV file to a report: the same as `fairsparse run table.yaml`, from Python."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import fairsparse

folder = Path(tempfile.mkdtemp(prefix="fairsparse-table-"))

# Made-up applicants: grades say less about who finishes for those who studied part time.
rng = np.random.default_rng(0)
n = 3000
part_time = rng.random(n) < 0.3
grade = rng.normal(size=n)
finishes = np.where(part_time, 0.5, 2.0) * grade + rng.normal(size=n) > 0
applicants = pd.DataFrame(
    {
        "grade": grade,
        "year": rng.integers(2015, 2020, n),
        "field": rng.choice(["arts", "law", "science"], n),
        "study": np.where(part_time, "part time", "full time"),
        "finishes": np.where(finishes, "yes", "no"),
    }
)
applicants.loc[::50, "grade"] = np.nan  # becomes the median of the training rows
applicants.to_csv(folder / "applicants.csv", index=False)

config = fairsparse.make_config(
    {
        "data": {
            "name": "table",
            "path": str(folder / "applicants.csv"),
            "target": "finishes",
            "groups": ["study"],
        },
        "model": {"name": "mlp", "hidden": [32, 32]},
        "training": {"epochs": 5, "batch_size": 64, "lr": 0.05},
        "cells": "group",
        "methods": ["dense", "magnitude", {"name": "ballot", "levels": [0.6]}],
        "sparsities": [0.9],
    }
)
(folder / "table.yaml").write_text(config.to_yaml())

for record in fairsparse.run(config, folder / "runs"):
    metrics = record["audit"]["metrics"]
    accuracy, gap = (metrics[name]["candidate"] for name in ("accuracy", "accuracy_gap"))
    print(
        f"{record['method']['name']:<10} accuracy {accuracy['value']:.3f},"
        f" gap {gap['value']:.3f} [{gap['low']:.3f}, {gap['high']:.3f}]"
    )
print(f"Report: {folder / 'runs' / 'report.html'}")
