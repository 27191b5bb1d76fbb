"""One study from end to end: its numbers again, by numpy alone."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from runs import study

RUNS = ["dense-seed0", "lth-0.8-seed0", "ballot-0.8-seed0", "ballot-2-0.8-seed0"]
KEYS = [
    *("format", "fairsparse", "config", "environment", "data", "model", "method", "seed", "cells"),
    *(
        "sparsity",
        "masks",
        "status",
        "rounds",
        "audit",
        "controls",
        "counts",
        "validation",
        "history",
    ),
    *("cost", "timings", "memory"),
]
# conv2 (8 x 4 x 3 x 3), conv3 (16 x 8 x 3 x 3) and the hidden layer (16 x 9 * 16); the first
# convolution and the classifier stay dense
PRUNABLE = 8 * 4 * 9 + 16 * 8 * 9 + 16 * 144


def opened(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in the record")

    folder = study()[0] / name
    record = json.loads((folder / "record.json").read_text(), parse_constant=refuse)
    with np.load(folder / "predictions.npz") as archive:
        return record, dict(archive)


@pytest.mark.parametrize("name", RUNS)
def test_records_are_complete(name: str) -> None:
    record, _ = opened(name)
    assert list(record) == KEYS
    assert record["environment"].keys() >= {"python", "torch", "numpy", "platform", "device"}
    assert all(record["environment"].values())
    assert record["data"]["sizes"]["test"] == record["audit"]["n"]
    assert len(record["data"]["fingerprint"]) == len(record["masks"]) == 64
    stages = {name: s for name, s in record["timings"].items() if name not in ("total", "audit")}
    assert record["timings"]["total"] == sum(stages.values()) > 0
    assert record["timings"]["audit"] > 0
    assert record["memory"].keys() == stages.keys()
    assert min(record["memory"].values()) > 0.01  # GiB; torch alone is more
    # digits has no unknown groups, cells or rates: nothing is undefined
    assert "null" not in json.dumps([record["counts"], record["validation"], record["history"]])


@pytest.mark.parametrize("name", RUNS)
def test_sparsity_is_exact(name: str) -> None:
    record, _ = opened(name)
    kept = PRUNABLE if name.startswith("dense") else PRUNABLE - round(0.8 * PRUNABLE)
    assert record["sparsity"]["total"] == PRUNABLE
    assert record["sparsity"]["kept"] == kept
    assert sum(layer["kept"] for layer in record["model"]["layers"]) == kept
    assert record["sparsity"]["measured"] == 1 - kept / PRUNABLE


@pytest.mark.parametrize("name", RUNS)
def test_metrics_again_from_predictions(name: str) -> None:
    record, arrays = opened(name)
    y, metrics = arrays["test_y"], record["audit"]["metrics"]
    predicted = {"reference": arrays["test_dense"], "candidate": arrays["test_sparse"]}
    by_class = {}
    for model, logits in predicted.items():
        right = logits.argmax(1) == y
        by_class[model] = np.array([right[y == k].mean() for k in range(10)])
        for metric, value in {
            "accuracy": right.mean(),
            "cwv": by_class[model].var(),
            "mcd": np.ptp(by_class[model]),
            "worst_class_accuracy": by_class[model].min(),
        }.items():
            assert metrics[metric][model]["value"] == pytest.approx(value, abs=1e-12)
            assert metrics[metric][model]["low"] <= metrics[metric][model]["high"]
    change = metrics["cwv"]["change"]["value"]
    assert change == pytest.approx(by_class["candidate"].var() - by_class["reference"].var())
    flips = predicted["reference"].argmax(1) != predicted["candidate"].argmax(1)
    assert record["audit"]["churn"] == pytest.approx(flips.mean())


@pytest.mark.parametrize("name", RUNS)
def test_counts_and_validation_again_from_predictions(name: str) -> None:
    record, arrays = opened(name)
    for kind in ("dense", "sparse"):
        table = np.zeros((1, 10, 10), int)
        np.add.at(table[0], (arrays["test_y"], arrays[f"test_{kind}"].argmax(1)), 1)
        assert record["counts"][kind] == table.tolist()
        y = arrays["val_y"]
        right = arrays[f"val_{kind}"].argmax(1) == y
        by_class = np.array([right[y == k].mean() for k in range(10)])
        assert record["validation"][kind] == pytest.approx(
            {"accuracy": right.mean(), "variance": by_class.var(), "range": np.ptp(by_class)},
            abs=1e-6,
        )


def test_a_dense_run_is_its_own_reference() -> None:
    record, arrays = opened("dense-seed0")
    assert np.array_equal(arrays["test_dense"], arrays["test_sparse"])
    assert record["audit"]["churn"] == 0
    others = [opened(name)[1]["test_dense"] for name in RUNS]
    assert all(np.array_equal(arrays["test_dense"], other) for other in others)


def test_a_trained_network_is_as_good_as_an_independent_model() -> None:
    from fairsparse import DATASETS, prune
    from fairsparse.models import build

    task = DATASETS["digits"]()
    result = prune(
        build("mlp", (1, 8, 8), 10, hidden=(32,)),
        task,
        "magnitude",
        0.5,
        training={"epochs": 20, "batch_size": 64, "lr": 0.1},
        resamples=100,
    )
    x, y = (np.asarray(a) for a in (task.train.x, task.train.y))
    with threadpool_limits(1):
        judge = LogisticRegression(C=0.02, max_iter=2000).fit(x.reshape(len(x), -1), y)
    expected = judge.score(np.asarray(task.test.x).reshape(len(task.test), -1), task.test.y)
    assert len(load_digits().target) == sum(result.record["data"]["sizes"].values())
    for model in ("reference", "candidate"):
        accuracy = result.report["metrics"]["accuracy"][model]["value"]
        assert accuracy == pytest.approx(expected, abs=0.02)
