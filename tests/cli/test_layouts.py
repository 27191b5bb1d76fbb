"""Sets that are not at hand, from their layout to a report by one command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layouts import write_arrays, write_celeba, write_fairface, write_lfw, write_tiny
from runs import TINY, call, write_config

CNN = {"name": "small-cnn", "width": 4}
SETS: dict[str, tuple[Callable[[Path], Any], dict[str, Any], dict[str, Any], str]] = {
    "celeba": (write_celeba, {"size": 16}, CNN, "not Male"),
    "lfw": (write_lfw, {"size": 16}, CNN, "female"),
    "fairface": (write_fairface, {"size": 16}, CNN, "East Asian"),
    "tiny-imagenet": (write_tiny, {"size": 16}, CNN, "Egyptian cat"),
    "moji": (lambda folder: write_arrays(folder, 40), {}, {"name": "mlp"}, "AAE"),
}


@pytest.mark.parametrize("name", SETS)
def test_one_command_trains_prunes_and_reports(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, options, model, word = SETS[name]
    write(tmp_path / "data")
    config = {
        **TINY,
        "data": {"name": name, "path": str(tmp_path / "data"), **options},
        "model": model,
        "training": {"epochs": 1, "batch_size": 16},
        "methods": [{"name": "lth", "levels": [0.3]}, {"name": "ballot", "levels": [0.3]}],
    }
    ended = call(
        capsys, "run", write_config(tmp_path / "c.yaml", config), "--out", tmp_path / "out"
    )
    assert ended.code == 0, ended.err
    for method in ("lth", "ballot"):
        (report,) = (tmp_path / "out").glob(f"{method}*/report.html")
        assert word in report.read_text()
