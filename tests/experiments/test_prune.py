"""The Python front door: a network and examples of one's own, saved and read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import fairsparse
from fairsparse import InputError, Recipe, Refinement, Result, Task, load, prune
from fairsparse.checkpoint import digest, read_tensors, write_tensors
from runs import study

RECIPE = {"epochs": 2, "batch_size": 32, "lr": 0.05}


class Net(nn.Module):
    """A network nobody has registered: dropout, BatchNorm, and two hidden layers."""

    def __init__(self, width: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, 12),
            nn.ReLU(),
        )
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class People(Dataset[Any]):
    """Items (x, y, group), or (x, y)."""

    def __init__(self, n: int, seed: int, groups: bool = True) -> None:
        self.x, self.y, self.group = examples(n, seed)
        self.groups = groups

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> Any:
        return (self.x[i], self.y[i], self.group[i]) if self.groups else (self.x[i], int(self.y[i]))


def examples(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    y, group = torch.arange(n) % 3, torch.arange(n) // 3 % 2
    centres = torch.randn(3, 6, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return centres[y] + noise, y, group


@cache
def tensors() -> Task:
    return fairsparse.task(examples(300, 1), examples(150, 2), name="three")


def net(seed: int = 0, **options: Any) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(**options)


@cache
def finished() -> Result:
    """One run on tensors that tests share and do not change."""
    return prune(net(), tensors(), "lth", 0.75, training=RECIPE, levels=[0.5], resamples=100)


def test_counts_masks_and_report() -> None:
    result = finished()
    total = 6 * 16 + 16 * 12  # the last layer stays dense
    assert (result.masks.n_total, result.masks.n_kept) == (total, total - round(0.75 * total))
    state = result.model.state_dict()
    assert all(not bool(state[name][~mask].any()) for name, mask in result.masks.items())
    assert result.report["n"] == 150
    assert result.report["candidate"]["values"]["accuracy_gap"] is not None
    assert "<html" in result.html()
    assert result.record["config"]["data"] == {"name": "three"}
    assert result.record["config"]["model"] == {"name": "Net"}
    assert not result.model.training


def test_least_is_that_of_the_audit() -> None:
    options: dict[str, Any] = {"training": RECIPE, "resamples": 100}
    made = prune(net(), tensors(), "magnitude", 0.5, least=140, **options)
    assert {cell["finding"] for cell in made.report.cells} == {"too few"}
    assert made.record.config["least"] == 140


def test_predictions_are_those_of_the_model() -> None:
    result = finished()
    with torch.inference_mode():
        logits = result.model(tensors().test.x)
    assert np.array_equal(result.predictions["test_sparse"], logits.numpy())
    dense = net()
    dense.load_state_dict(result.dense)
    with torch.inference_mode():
        logits = dense.eval()(tensors().test.x)
    assert np.array_equal(result.predictions["test_dense"], logits.numpy())


@pytest.mark.parametrize("groups", [True, False])
def test_a_data_set_gives_what_tensors_give(groups: bool) -> None:
    made = fairsparse.task(People(300, 1, groups), People(150, 2, groups), name="three")
    result = prune(net(), made, "lth", 0.75, training=RECIPE, levels=[0.5], resamples=100)
    if groups:
        assert result.masks == finished().masks
        assert digest(result.model.state_dict(), "") == digest(finished().model.state_dict(), "")
        assert result.report == finished().report
    else:
        assert "accuracy_gap" not in result.report["candidate"]["values"]


@pytest.mark.parametrize("method", ["dense", "magnitude", "ballot"])
def test_the_passed_model_and_the_random_state_stay_as_they_were(method: str) -> None:
    model = net()
    model.body[1].eval()
    before, modes = digest(model.state_dict(), ""), [m.training for m in model.modules()]
    state, kernels = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    result = prune(model, tensors(), method, 0.5, training=Recipe(**RECIPE), resamples=100)
    assert digest(model.state_dict(), "") == before
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.are_deterministic_algorithms_enabled() == kernels
    assert digest(result.model.state_dict(), "") != before
    assert result.record["sparsity"]["measured"] == (0 if method == "dense" else 0.5)


def test_nested_options_as_a_dict_or_an_object() -> None:
    options: dict[str, Any] = {"training": RECIPE, "one_shot": True, "resamples": 100}
    a = prune(net(), tensors(), sparsity=0.5, refinement={"strength": 0.2}, **options)
    b = prune(net(), tensors(), sparsity=0.5, refinement=Refinement(strength=0.2), **options)
    assert a.record["method"]["options"]["refinement"]["strength"] == 0.2
    assert a.record["method"]["name"] == "ballot"
    records = [{**r.record, "timings": None, "memory": None} for r in (a, b)]
    assert records[0] == records[1]


def test_stages_are_shared_by_calls_and_not_by_other_networks(tmp_path: Path) -> None:
    def run(**options: Any) -> dict[str, Any]:
        made = prune(
            net(**options), tensors(), "magnitude", 0.5, training=RECIPE, stages=tmp_path,
            resamples=100,
        )  # fmt: skip
        return {key: made.record[key] for key in made.record if key != "timings"}

    first = run()
    stages = set(tmp_path.iterdir())
    assert run() == first
    assert set(tmp_path.iterdir()) == stages
    # the same weights with another dropout rate are another network
    assert run(dropout=0.5) != first
    assert len(set(tmp_path.iterdir())) == 2 * len(stages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "balot"}, "method: unknown method 'balot' .*'ballot'"),
        ({"sparsity": 1.0}, "sparsities.0: .*less than 1"),
        ({"cells": "grups"}, "cells: .*'group'"),
        ({"cells": "demographic-parity"}, "needs 2 classes"),
        ({"training": {"epoch": 1}}, "training.epoch: unknown setting .*'epochs'"),
        ({"refinement": {"strenght": 1}}, "method.refinement.strenght: .*'strength'"),
        ({"nope": 1}, "method.nope: unknown setting"),
        ({"seed": -1}, "seeds.0"),
        ({"training": {"augment": ["flip"]}}, "augment takes images"),
        ({"model": "net"}, "model is a str; give a torch nn.Module"),
        ({"task": "digits"}, r"task is a str; make one with fairsparse.task"),
        ({"model": nn.Linear(6, 3)}, "nothing to prune"),
        ({"model": nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))}, "outputs of shape .2, 2."),
        ({"model": nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))}, "does not take inputs"),
        ({"sparsity": 0.999, "floor": 0.0}, "would empty layer"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(**{"model": net(), "task": tensors(), **change})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return finished().save(tmp_path / "run")


def test_saved_and_loaded(saved: Path) -> None:
    result, again = finished(), load(saved, model=net(seed=5))
    assert again.masks == result.masks
    assert again.record == result.record
    assert digest(again.dense, "") == digest(result.dense, "")
    assert again.predictions.keys() == result.predictions.keys()
    with torch.inference_mode():
        logits = again.model(tensors().test.x)
    assert np.array_equal(result.predictions["test_sparse"], logits.numpy())
    with pytest.raises(InputError, match=r"holds a Net .*load\(folder, model=...\)"):
        load(saved)
    with pytest.raises(InputError, match="do not fit the model"):
        load(saved, model=net(width=8))


@pytest.mark.parametrize("method", ["ballot", "bifp", "fair-scratch"])
def test_a_layer_of_two_names_is_one_layer(method: str, tmp_path: Path) -> None:
    def made() -> nn.Sequential:
        layer = nn.Linear(32, 32)
        parts = (nn.Linear(6, 32), nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU())
        return nn.Sequential(*parts, nn.Linear(32, 3))

    options = {"levels": [0.5]} if method == "ballot" else {}
    result = prune(made(), tensors(), method, sparsity=0.7, training=RECIPE, **options)
    assert result.masks.n_total == 6 * 32 + 32 * 32
    assert result.model[2] is result.model[4]  # type: ignore[index]
    result.save(tmp_path / "run")
    again = load(tmp_path / "run", model=made())
    x = tensors().test.x
    assert torch.equal(again.model.eval()(x), result.model.eval()(x))


def test_a_registered_model_is_made_from_its_name() -> None:
    out, _ = study()
    result = load(out / "ballot-0.8-seed0")
    test = fairsparse.DATASETS["digits"](limit=200).test
    with torch.inference_mode():
        logits = result.model(test.batch(torch.arange(len(test))).x)
    np.testing.assert_array_equal(
        logits.argmax(1).numpy(), result.predictions["test_sparse"].argmax(1)
    )
    # the recorded logits come from batches of 512, and so do these
    with torch.inference_mode():
        parts = [result.model(test.batch(i).x) for i in torch.arange(len(test)).split(512)]
    assert np.array_equal(torch.cat(parts).numpy(), result.predictions["test_sparse"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "file", ["sparse.safetensors", "dense.safetensors", "predictions.npz", "record.json"]
)
@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink])
def test_damaged_files_are_named(file: str, harm: Callable[[Path], None], saved: Path) -> None:
    if file == "record.json" and harm is flip:
        (saved / file).write_text("[1]")
    else:
        harm(saved / file)
    with pytest.raises(InputError, match=file):
        load(saved, model=net())


def test_files_of_another_run_are_noticed(saved: Path, tmp_path: Path) -> None:
    other = prune(net(), tensors(), "lth", 0.75, seed=1, training=RECIPE, resamples=100)
    other.save(tmp_path / "other")
    for file in ("sparse.safetensors", "dense.safetensors", "predictions.npz"):
        shutil.copy(tmp_path / "other" / file, saved / file)
        with pytest.raises(InputError, match=f"{file}: does not belong to the record.json"):
            load(saved, model=net())
        finished().save(saved)


def test_rewritten_masks_and_records_are_noticed(saved: Path) -> None:
    path = saved / "sparse.safetensors"
    tensors_, meta = read_tensors(path)
    name = next(n for n in tensors_ if n.startswith("mask/"))
    write_tensors(path, {**tensors_, name: torch.ones_like(tensors_[name])}, meta)
    with pytest.raises(InputError, match=r"sparse\.safetensors: does not belong"):
        load(saved, model=net())
    finished().save(saved)
    record = json.loads((saved / "record.json").read_text())
    record["counts"]["sparse"][0][0][0] += 1
    (saved / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"does not belong to the record\.json"):
        load(saved, model=net())


def test_saving_over_a_run_is_never_half_a_run(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Result) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Result, "html", stop)
    with pytest.raises(KeyboardInterrupt):
        finished().save(saved)
    with pytest.raises(InputError, match=r"not a complete run \(no record.json\)"):
        load(saved, model=net())
