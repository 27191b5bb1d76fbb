"""Run directories from elsewhere: they name no code, and their files belong together."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fairsparse
from fairsparse.auditing.inputs.columns import Columns, read
from fairsparse.checkpoint import Stages, read_tensors, write_tensors
from fairsparse.core import InputError
from fairsparse.models import build
from fairsparse.record import Record, read_predictions, seal, write_record
from runs import TINY, Ended, call, write_config

Capture = pytest.CaptureFixture[str]
TRAP = """
from pathlib import Path
Path("sprung").touch()

from fairsparse.models import build

def net(input_shape, n_classes):
    return build("mlp", input_shape, n_classes, hidden=[12])
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    fairsparse.run(fairsparse.make_config(TINY), out)
    return out


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a copy of the run, and a module that leaves a trace when it is imported."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "run")
    Path("trap_of_a_test.py").write_text(TRAP)
    yield tmp_path
    sys.modules.pop("trap_of_a_test", None)


def forged(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the record, and all that holds the other files against it."""
    values = json.loads((folder / "record.json").read_text())
    change(values)
    record = Record.model_validate(values)
    write_record(folder, record)
    (folder / "config.yaml").write_text(yaml.safe_dump(values["config"]))
    predictions = (folder / "predictions.npz").read_bytes()
    for kind in ("dense", "sparse"):
        path = folder / f"{kind}.safetensors"
        tensors, about = read_tensors(path)
        mine = {key: values[key] for key in about if key in values}
        write_tensors(path, tensors, {**about, **mine, "seal": seal(record, predictions)})


def code_of(values: dict[str, Any]) -> None:
    values["model"] |= {"name": "trap_of_a_test:net", "options": {}}
    values["config"]["model"] = {"name": "trap_of_a_test:net"}


def code_in_the_configuration(values: dict[str, Any]) -> None:
    values["config"]["model"] = {"name": "trap_of_a_test:net"}


def refused(ended: Ended, *words: str) -> None:
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    for word in words:
        assert word in ended.err
    assert not Path("sprung").exists()


def test_a_forged_directory_is_otherwise_whole(here: Path) -> None:
    forged(Path("run"), lambda values: None)
    assert fairsparse.load("run").record.model.name == "mlp"


def test_a_directory_does_not_name_code(here: Path, capsys: Capture) -> None:
    forged(Path("run"), code_of)
    with pytest.raises(InputError, match=r"asks for the code 'trap_of_a_test:net'.*--trust"):
        fairsparse.load("run")
    refused(call(capsys, "explain", "run", "--out", "out"), "'trap_of_a_test:net'", "--trust")
    assert not Path("out").exists()
    with pytest.raises(InputError, match="asks for the code"):
        fairsparse.read_config(Path("run/config.yaml"))
    assert not Path("sprung").exists()
    own = build("mlp", (1, 8, 8), 10, hidden=[12])
    assert fairsparse.load("run", model=own).model is own
    assert not Path("sprung").exists()
    assert fairsparse.load("run", trust=True).record.model.name == "trap_of_a_test:net"
    assert Path("sprung").exists()


@pytest.mark.parametrize("command", ["explain", "audit", "exemplars", "run", "search"])
def test_no_command_takes_code_from_a_file(command: str, here: Path, capsys: Capture) -> None:
    forged(Path("run"), code_in_the_configuration)
    of_file = {
        "explain": ["run"],
        "audit": ["--reference", "a.onnx", "--candidate", "b.onnx", "--inputs", "run"],
        "exemplars": ["--reference", "a.onnx", "--candidate", "b.onnx", "--inputs", "run"],
        "run": ["run/config.yaml"],
        "search": ["run/config.yaml", "--budget", "range=0.5"],
    }[command]
    refused(call(capsys, command, *of_file, "--out", "out"), "'trap_of_a_test:net'", "--trust")
    assert not Path("out").exists()
    call(capsys, command, *of_file, "--out", "out", "--trust")
    assert Path("sprung").exists()


def test_code_that_the_caller_names_is_run(here: Path, capsys: Capture) -> None:
    config = write_config(here / "c.yaml", TINY)
    ended = call(capsys, "run", config, "--set", "model=trap_of_a_test:net", "--out", "own")
    assert ended.code == 0, ended.err
    assert Path("sprung").exists()
    # the same call goes on with it, and another configuration does not import what out/ names
    sys.modules.pop("trap_of_a_test")
    Path("sprung").unlink()
    refused(call(capsys, "run", config, "--out", "own"), "another configuration (model differ)")


def test_nothing_is_written_where_a_run_directory_says(here: Path, capsys: Capture) -> None:
    from PIL import Image

    Path("pictures").mkdir()
    for i in range(60):
        Image.new("RGB", (8, 8), (4 * i, 0, 0)).save(f"pictures/{i}.png")
    rows = [f"pictures/{i}.png,{'ab'[i % 2]}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["file,label", *rows]))
    data = {"name": "image-table", "path": "t.csv", "cache": "elsewhere"}
    config = {**TINY, "data": data, "training": {"epochs": 1, "batch_size": 8}}
    write_config(here / "c.yaml", config)
    model = [f"--{role}=nothing_of_a_test:f" for role in ("reference", "candidate")]
    told = call(capsys, "audit", *model, "--inputs", "c.yaml").err
    assert "nothing_of_a_test" in told  # the data were read
    assert not Path("elsewhere").exists()
    call(capsys, "audit", *model, "--inputs", "c.yaml", "--trust")
    assert Path("elsewhere").exists()


def edit(*path: Any, value: Any) -> None:
    place = values = json.loads(Path("run/record.json").read_text())
    for part in path[:-1]:
        place = place[part]
    assert place[path[-1]] != value
    place[path[-1]] = value
    Path("run/record.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("seed",), 7),
        (("cost", "steps"), 1),
        (("audit", "churn"), 0.5),
        (("validation", "sparse", "accuracy"), 0.5),
        (("counts", "sparse", 0, 0, 0), 1000),
        (("config", "seeds"), [3]),
        (("status",), "collapsed"),
    ],
)
def test_an_edited_record_is_refused(path: Any, value: Any, here: Path, capsys: Capture) -> None:
    edit(*path, value=value)
    words = "run/sparse.safetensors: does not belong to the record.json beside it"
    with pytest.raises(InputError, match=words):
        fairsparse.load("run")
    with pytest.raises(InputError, match=words):
        read("run", Columns())
    config = write_config(here / "c.yaml", TINY)
    refused(call(capsys, "run", config, "--out", "run"), words)


def test_changed_predictions_are_refused(here: Path) -> None:
    import numpy as np

    with np.load("run/predictions.npz") as archive:
        arrays = dict(archive)
    arrays["test_sparse"] = 2 * arrays["test_sparse"]  # the same classes, more surely
    np.savez_compressed("run/predictions.npz", **arrays)
    for reading in (lambda: fairsparse.load("run"), lambda: read("run", Columns())):
        with pytest.raises(InputError, match=r"predictions\.npz: does not belong"):
            reading()


def test_predictions_that_do_not_fit_their_record_are_refused(here: Path) -> None:
    record = fairsparse.load("run").record
    odd = copy.deepcopy(record.to_dict())
    odd["counts"]["sparse"] = odd["counts"]["sparse"][:1]
    odd["data"]["class_names"] = odd["data"]["class_names"][:2]
    with pytest.raises(InputError, match=r"predictions\.npz: does not belong"):
        read_predictions(Path("run"), Record.model_validate(odd))


def test_swapped_runs_and_stages_are_refused(here: Path, capsys: Capture) -> None:
    config = write_config(here / "c.yaml", {**TINY, "seeds": [0, 1]})
    assert call(capsys, "run", config, "--out", "two").code == 0
    one, other = (Path("two") / f"magnitude-0.5-seed{seed}" for seed in (0, 1))
    records = [(folder / "record.json").read_bytes() for folder in (one, other)]
    for folder, content in zip((one, other), reversed(records), strict=True):
        (folder / "record.json").write_bytes(content)
    refused(call(capsys, "run", config, "--out", "two"), "does not belong to the record.json")
    for folder, content in zip((one, other), records, strict=True):
        (folder / "record.json").write_bytes(content)
    assert call(capsys, "run", config, "--out", "two").code == 0
    one.rename("aside")
    other.rename(one)
    Path("aside").rename(other)
    refused(call(capsys, "run", config, "--out", "two"), "holds the run of another configuration")
    for folder in (one, other):
        shutil.rmtree(folder)
    stages = {path: path.read_bytes() for path in Path("two/stages").iterdir()}
    for path, content in zip(stages, reversed(stages.values()), strict=True):
        path.write_bytes(content)
    refused(call(capsys, "run", config, "--out", "two"), "is another stage than its name says")


def test_a_stage_knows_its_key(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    stages.save("a", {"w": torch.ones(2)}, {"step": 1})
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"b\.safetensors: is another stage"):
        stages.load("b")


@pytest.mark.parametrize("command", ["run", "search", "audit"])
def test_a_directory_that_another_process_writes_to_is_left_alone(
    command: str, here: Path, capsys: Capture
) -> None:
    Path("out").mkdir()
    config = str(write_config(here / "c.yaml", TINY))
    words = {
        "run": [config],
        "search": [config, "--budget", "range=0.5"],
        "audit": ["--reference", "run:dense", "--candidate", "run", "--resamples", "20"],
    }[command]
    other = os.open("out", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        refused(call(capsys, command, *words, "--out", "out"), "out: another process is writing")
        assert list(Path("out").iterdir()) == []
    finally:
        os.close(other)
    assert call(capsys, command, *words, "--out", "out").code in (0, 1)
    assert list(Path("out").iterdir())
