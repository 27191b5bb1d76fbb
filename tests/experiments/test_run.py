"""From a configuration to directories: what is checked, when, and what is left as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from fairsparse import DATASETS, METHODS, MaskSet, Outcome, make_config, run
from fairsparse.checkpoint import read_tensors, write_tensors
from fairsparse.core import InputError
from fairsparse.experiments.catalog import rows
from fairsparse.experiments.execute import verify
from fairsparse.experiments.plan import make_model, make_task, plan, preflight
from fairsparse.experiments.run import check_out
from fairsparse.record import Record
from fairsparse.registry import parameters
from fairsparse.report.run.page import run_report
from runs import TINY, study, tree


def test_what_a_killed_write_leaves_is_no_obstacle(tmp_path: Path) -> None:
    config, out = make_config(TINY), tmp_path / "out"
    out.mkdir()
    (out / ".config.yaml.k3j_.tmp").write_text("data: {na")
    records = run(config, out)
    assert not list(out.rglob("*.tmp"))
    before = tree(out)
    (out / "stages" / ".x.safetensors.a.tmp").write_bytes(b"\x00")
    assert run(config, out) == records
    assert tree(out) == before


def test_a_kill_between_the_last_stage_and_the_record(tmp_path: Path) -> None:
    config, out = make_config({**TINY, "methods": "lth"}), tmp_path / "out"
    (first,) = run(config, out)
    (out / "record.json").unlink()
    (again,) = run(config, out)
    assert {**again, "timings": None} == {**first, "timings": None}
    assert json.loads((out / "record.json").read_text())["masks"] == first.masks


@pytest.mark.parametrize("order", [("magnitude", "lth"), ("lth", "magnitude")])
def test_what_a_run_costs_does_not_depend_on_who_made_its_stages(
    order: tuple[str, str], tmp_path: Path
) -> None:
    config, out = make_config({**TINY, "methods": list(order)}), tmp_path / "out"
    first, second = run(config, out)
    for record in (first, second):
        stages = {name: s for name, s in record.timings.items() if name not in ("total", "audit")}
        assert record.seconds == record.timings["total"] == sum(stages.values())
        assert len(stages) > 1
        assert record.timings["audit"] > 0
        assert record.memory.keys() == stages.keys()
    # the second took the dense network over, and it counts as much
    assert first.timings["dense"] == second.timings["dense"] > 0
    assert first.memory["dense"] == second.memory["dense"] > 0
    for path in out.glob("*/record.json"):
        path.unlink()
    for before, again in zip((first, second), run(config, out), strict=True):
        audit = {"audit": again.timings["audit"]}
        assert {**before.timings, **audit} == again.timings
        assert before.memory == again.memory


def test_records_and_stages_of_before_say_what_they_know(tmp_path: Path) -> None:
    config, out = make_config(TINY), tmp_path / "out"
    (record,) = run(config, out)
    values = record.to_dict()
    old = {**values, "timings": {"dense": 2.0, "magnitude 0.5": 1.0, "total": 71.0}}
    del old["memory"]
    assert Record.model_validate(old).seconds == 3
    assert Record.model_validate(old).memory == {}
    assert "71.0" not in run_report(Record.model_validate(old))
    for path in (out / "stages").iterdir():
        tensors, meta = read_tensors(path)
        del meta["meta"]["peak_gib"]
        write_tensors(path, tensors, meta)
    (out / "record.json").unlink()
    (again,) = run(config, out)
    assert again.memory == {}
    assert again.seconds == record.seconds


def test_finished_runs_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = make_config({**TINY, "methods": ["lth", "magnitude"]}), tmp_path / "out"
    records = run(config, out)
    monkeypatch.setattr("fairsparse.experiments.run.execute", None)
    assert run(config, out) == records


def test_progress_is_told_of_every_stage(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(stage: str, step: int, total: int, log: Any) -> None:
        assert {"loss", "accuracy", "worst", "worst_cell"} <= set(log)
        seen.append((stage, step, total))

    run(make_config(TINY), tmp_path / "out", progress)
    assert {stage for stage, *_ in seen} == {"dense", "magnitude 0.5"}
    assert all(step <= total for _, step, total in seen)
    assert {step for stage, step, total in seen if step == total}


def test_checking_writes_nothing(tmp_path: Path) -> None:
    config = make_config(TINY)
    check_out(tmp_path / "out", config)
    preflight(config, make_task(config), plan(config))
    assert list(tmp_path.iterdir()) == []


def test_models_are_made_from_their_seed() -> None:
    config = make_config(TINY)
    task, state = make_task(config), torch.get_rng_state()
    weights = [next(make_model(config, task, seed).parameters()) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), state)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 2))


def first(n: int, others: int) -> MaskSet:
    """Masks that keep the first `n` weights of one layer and `others` of the next."""
    index = torch.arange(20)
    return MaskSet({"0.weight": (index < n).view(5, 4), "1.weight": (index < others).view(4, 5)})


def test_what_a_method_returns_is_verified() -> None:
    method, half = METHODS["magnitude"](sparsity=0.5), first(10, 10)  # type: ignore[call-arg]
    model = network()
    with pytest.raises(RuntimeError, match="not applied"):
        verify(model, method, Outcome(half))
    half.apply_(model)
    verify(model, method, Outcome(half, path=[first(15, 15), half]))
    with pytest.raises(RuntimeError, match="not nested"):
        verify(model, method, Outcome(half, path=[first(5, 15), half]))
    with pytest.raises(RuntimeError, match="kept 19 weights, 20 were asked for"):
        verify(model, method, Outcome(first(10, 9)))
    for status in ("eps_infeasible", "gap_infeasible"):
        with pytest.raises(RuntimeError, match="kept 19 weights"):
            verify(model, method, Outcome(first(10, 9), status))
        stops = METHODS["ballot"](sparsity=0.6, search={"infeasible": "stop"})  # type: ignore[call-arg]
        verify(model, stops, Outcome(half, status))
        with pytest.raises(RuntimeError, match="kept 20 weights, 16 were asked for"):
            verify(model, stops, Outcome(half))
    with pytest.raises(RuntimeError, match="do not cover exactly"):
        verify(model, method, Outcome(MaskSet({"0.weight": half["0.weight"]})))


def test_catalog_defaults_are_what_a_configuration_gets() -> None:
    for row in rows("methods"):
        (made,) = make_config({**TINY, "methods": row.name}).to_dict()["methods"]
        flat = {key: value for key, value in made.items() if key != "name"}
        for group in [key for key, value in flat.items() if isinstance(value, dict)]:
            flat |= {f"{group}.{key}": value for key, value in flat.pop(group).items()}
        assert {name: yaml.safe_load(value) for name, value, _ in row.options} == flat
    for row in rows("datasets"):
        assert row.details.startswith("Terms: ")
        assert {name for name, *_ in row.options} == set(parameters(DATASETS[row.name]))


def test_the_study_names_its_versions() -> None:
    record = json.loads((study()[0] / "lth-0.8-seed0" / "record.json").read_text())
    assert record["environment"]["torch"] == torch.__version__
    assert record["environment"]["threads"] == 1
    assert record["environment"]["device"].startswith(("cpu (", "cuda ("))


def test_a_directory_from_before_a_setting_existed_is_continued(tmp_path: Path) -> None:
    config = make_config({"data": "digits", "model": "mlp", "methods": ["lth"]})
    there = config.to_dict()
    for name in ("criterion", "grouping"):
        del there["methods"][0][name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(there))
    check_out(tmp_path, config)
    there["methods"][0]["fraction"] = 0.3
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(there))
    with pytest.raises(InputError, match="another configuration"):
        check_out(tmp_path, config)
