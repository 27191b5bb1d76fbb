"""Corrections after training: measured beside a run, and changing nothing of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fairsparse
from fairsparse import Cells, InputError, Predictions, Result, Task, Trainer, prune
from fairsparse.experiments.controls import measure_controls
from fairsparse.fairness.steering.corrections import fit_offsets
from fairsparse.fairness.steering.spread import spread
from fairsparse.methods import Dense
from fairsparse.training.refinement.offsets import fold_

RECIPE = {"epochs": 2, "batch_size": 32, "lr": 0.05}


def people(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % 3 - 1
    y = (torch.rand(n, generator=generator) < 0.35 + 0.3 * (group == 1)).long()
    x = torch.randn(n, 6, generator=generator)
    x[:, :3] += 0.6 * y[:, None]
    x[:, 3] += 1.5 * (group == 1)
    return x, y, group


@cache
def task() -> Task:
    return fairsparse.task(people(600, 1), people(1200, 2), cal=people(900, 3), name="people")


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = [nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(8, 2))


@cache
def done(*controls: Any, cells: Any = "demographic-parity") -> Result:
    """One run that tests share and do not change."""
    return prune(
        net(),
        task(),
        "magnitude",
        0.5,
        cells=cells,
        training=RECIPE,
        resamples=100,
        controls=controls,
    )


def test_nothing_but_the_controls_is_added() -> None:
    plain, controlled = (done(*c).record.to_dict() for c in ((), ("offsets", "thresholds")))
    assert plain.pop("controls") == {}
    assert set(controlled.pop("controls")) == {"offsets", "thresholds"}
    for record in (plain, controlled):
        record.pop("timings")
        record.pop("memory")
        record["config"].pop("controls")
    assert plain == controlled
    arrays = (done().predictions, done("offsets", "thresholds").predictions)
    assert arrays[0].keys() == arrays[1].keys()


def test_a_run_without_controls_predicts_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for controls in ((), ("offsets",)):
        calls: list[int] = []
        plain = Trainer.predict

        def predict(self: Any, *args: Any, calls: list[int] = calls, plain: Any = plain) -> Any:
            calls.append(1)
            return plain(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "predict", predict)
            prune(net(), task(), "dense", training=RECIPE, resamples=100, controls=controls)
        counts.append(len(calls))
    assert counts[1] == counts[0] + 2  # cal, of dense and sparse


def biased(seed: int, shift: tuple[float, ...]) -> Predictions:
    """Evidence for the right class of three, and an unearned advantage of some."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(900) % 3
    logits = torch.randn(900, 3, generator=generator) + torch.tensor(shift)
    logits[torch.arange(900), y] += 2.0
    return Predictions(logits, y, torch.full((900,), -1))


def test_offsets_are_fitted_to_each_network_and_fold_into_its_last_bias() -> None:
    cells = Cells("class", ("x", "y", "z"))
    shifts = {"dense": (1.5, 0.0, -1.5), "sparse": (0.0, -2.0, 0.0), "even": (0.0, 0.0, 0.0)}
    networks = {
        name: {split: biased(i, shift) for i, split in enumerate(("cal", "val", "test"))}
        for name, shift in shifts.items()
    }
    dense = Dense({}, 1, spread(cells, networks["dense"]["val"]))
    entry = measure_controls(("offsets",), networks, dense, cells, seed=0, resamples=100)["offsets"]
    for name, shift in shifts.items():
        values, test = torch.tensor(entry[name]["values"]), networks[name]["test"]
        if name == "even":
            assert entry[name]["strength"] == 0 or float(values.abs().max()) < 0.5
        else:
            centred = torch.tensor(shift) - sum(shift) / 3
            torch.testing.assert_close(values, -centred, atol=0.6, rtol=0)
        # a network that answers with these logits: the identity, and a bias
        model = nn.Linear(3, 3)
        nn.init.eye_(model.weight)
        nn.init.zeros_(model.bias)
        fold_(model, values)
        with torch.inference_mode():
            predicted = model(test.logits).argmax(1)
        right = (predicted == test.y).double()
        found = entry[name]["metrics"]
        assert found["accuracy"]["candidate"]["value"] == pytest.approx(float(right.mean()))
        rates = [float(right[test.y == c].mean()) for c in range(3)]
        assert found["mcd"]["candidate"]["value"] == pytest.approx(max(rates) - min(rates))
        churn = (predicted != test.logits.argmax(1)).double().mean()
        assert entry[name]["churn"] == pytest.approx(float(churn))


def test_offsets_are_fitted_on_cal_and_the_strength_alone_is_chosen_on_val() -> None:
    cells, shift = Cells("class", ("x", "y", "z")), (1.5, 0.0, -1.5)
    splits = {name: biased(i, shift) for i, name in enumerate(("cal", "val", "test"))}
    dense = Dense({}, 1, spread(cells, splits["val"]))
    networks = {"dense": splits}
    found = measure_controls(("offsets",), networks, dense, cells, seed=0, resamples=100)
    entry = found["offsets"]["dense"]
    fitted = fit_offsets(splits["cal"], cells, entry["strength"])
    # a part of the fit, and of no other split's
    part = torch.tensor(entry["values"]) / fitted
    assert part.tolist() == pytest.approx([float(part[0])] * 3)
    assert 0 < float(part[0]) <= 1


def test_thresholds_lower_the_gap_and_are_marked() -> None:
    found = done("offsets", "thresholds").record["controls"]
    assert found["thresholds"]["needs_group_at_inference"] is True
    assert found["offsets"]["needs_group_at_inference"] is False
    for network in ("dense", "sparse"):
        entry = found["thresholds"][network]
        assert entry["constraint"] == "demographic_parity"
        gap = entry["metrics"]["demographic_parity"]
        assert gap["candidate"]["value"] < gap["reference"]["value"] / 2
        assert gap["candidate"]["low"] <= gap["candidate"]["value"]
        role = {"dense": "reference", "sparse": "candidate"}[network]
        audit = done("offsets", "thresholds").report["metrics"]
        for metric, change in entry["metrics"].items():
            assert change["reference"]["value"] == pytest.approx(
                audit[metric][role]["value"], nan_ok=True
            )


def test_the_report_says_what_a_correction_needs() -> None:
    html = done("offsets", "thresholds").html()
    assert "sparse with thresholds" in html
    assert html.count("needs the group of each example at inference") == 2
    assert html.count("free at inference") == 2
    for network in ("dense", "sparse"):
        change = done("offsets", "thresholds").record["controls"]["thresholds"][network]["metrics"]
        row = html[html.index(f"{network} with thresholds") :]
        row = row[: row.index("</tr>")]
        gap = change["demographic_parity"]
        assert f"{100 * gap['candidate']['value']:.2f}" in row
        assert f"{100 * gap['reference']['value']:.2f}" not in row
    assert "Corrections after training" not in done().html()


def test_controls_travel_through_a_file_and_the_reports(tmp_path: Any) -> None:
    settings = {
        "data": {"name": "digits", "limit": 200},
        "model": {"name": "mlp", "hidden": [12]},
        "training": {"epochs": 1, "batch_size": 32},
        "methods": ["magnitude", "lth"],
        "sparsities": [0.5],
        "seeds": [0, 1],
        "resamples": 100,
        "controls": "offsets",
    }
    records = fairsparse.run(fairsparse.make_config(settings), tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text()
    for row in ("dense with offsets", "magnitude with offsets", "lth with offsets"):
        assert html.count(row) == 1
    values = [
        r["controls"]["offsets"]["sparse"]["metrics"]["accuracy"]["candidate"]["value"]
        for r in records
        if r["method"]["name"] == "lth"
    ]
    table = html[html.index("lth with offsets") :]
    assert f"{100 * np.mean(values):.2f}" in table[: table.index("</tr>")]
    assert fairsparse.make_config(records[0]["config"]).controls == ("offsets",)


@pytest.mark.parametrize(
    ("controls", "words"),
    [
        (["thresholds"], "thresholds are for 2 classes"),
        (["offset"], "controls.0: Input should be 'offsets' or 'thresholds', got 'offset'"),
        (["offsets", "offsets"], "controls: offsets is there twice"),
    ],
)
def test_controls_are_checked_before_training(
    controls: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = fairsparse.DATASETS["digits"](limit=200)
    monkeypatch.setattr(Trainer, "predict", None)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    with pytest.raises(InputError, match=words):
        prune(model, digits, "magnitude", training={"epochs": 1}, controls=controls)
