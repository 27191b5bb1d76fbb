"""Whether a machine is faster in bf16 is found out, told, and chosen where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fairsparse import Recipe, make_config, run
from fairsparse.training import precision
from fairsparse.training.precision import settled, speed_of_bf16
from runs import TINY

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "ratio", "taken", "line"),
    [
        ("bf16", 0.12, "bf16", "0.12 times as fast as fp32 on this machine (cpu); use fp32, or"),
        ("bf16", 2.0, "bf16", "2 times as fast as fp32 on this machine (cpu)\n"),
        ("auto", 0.12, "fp32", "0.12 times as fast as fp32 on this machine (cpu); auto takes fp32"),
        ("auto", 1.9, "bf16", "1.9 times as fast as fp32 on this machine (cpu); auto takes bf16"),
        ("auto", 1.05, "fp32", "auto takes fp32"),
        ("fp32", 3.0, "fp32", ""),
    ],
)
def test_a_probe_is_told_and_what_is_asked_for_is_kept(
    asked: str,
    ratio: float,
    taken: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(precision, "speed_of_bf16", lambda device: ratio)
    recipe = settled(Recipe(precision=asked), CPU)  # type: ignore[arg-type]
    assert recipe == Recipe(precision=taken)  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == (asked != "fp32")


def test_the_probe_measures() -> None:
    assert 0.001 < speed_of_bf16(CPU) < 1000


def test_a_run_that_goes_on_keeps_what_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config({**TINY, "training": {**TINY["training"], "precision": "auto"}})
    monkeypatch.setattr(precision, "speed_of_bf16", lambda device: 2.0)
    (record,) = run(config, tmp_path / "out")
    assert record.config["training"]["precision"] == "bf16"
    monkeypatch.setattr(precision, "speed_of_bf16", lambda device: 0.5)
    assert run(config, tmp_path / "out") == [record]
    (other,) = run(config, tmp_path / "other")
    assert other.config["training"]["precision"] == "fp32"
