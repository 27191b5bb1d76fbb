"""Bad input: one line on stderr that helps, exit code 2, no traceback, nothing written."""

import copy
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from fairsparse import METHODS, InputError, make_config
from fairsparse.checkpoint import read_tensors
from fairsparse.experiments.outline import precheck
from fairsparse.training import Loop
from guard.cases import STUDIES
from runs import ENVIRONMENT, TINY, call, process, tree, write_config

Capture = pytest.CaptureFixture[str]


def refused(ended: Any, *words: str) -> None:
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("fairsparse: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    for word in words:
        assert word in ended.err


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(TINY), **parts}


MAGNITUDE = {"name": "magnitude"}
CONFIGS = {
    "top level": (changed(trainning={}), ["trainning: unknown", "'training'"]),
    "training": (changed(training={"epoch": 3}), ["training.epoch: unknown", "'epochs'"]),
    "data option": (changed(data={"name": "digits", "limt": 9}), ["data.limt", "'limit'"]),
    "model option": (changed(model={"name": "mlp", "hiden": [8]}), ["model.hiden", "'hidden'"]),
    "method option": (
        changed(methods=[{"name": "ballot", "lambda": 1}]),
        ["methods.0.lambda: unknown", "'selection.lambda_conflict'"],
    ),
    "refinement option": (
        changed(methods=[{"name": "ballot", "refinement": {"strenght": 1}}]),
        ["methods.0.refinement.strenght: unknown", "'strength'"],
    ),
    "word of a union": (
        changed(methods=[{"name": "ballot", "search": {"rewind_at": "serch"}}]),
        ["methods.0.search.rewind_at: ", "a valid number", "or 'search', got 'serch'"],
    ),
    "number of a union": (
        changed(methods=[{"name": "ballot", "search": {"rewind_at": 1.5}}]),
        ["methods.0.search.rewind_at: Input should be less than 1 or 'search', got 1.5"],
    ),
    "method": (changed(methods=["balot"]), ["methods.0: unknown method 'balot'", "'ballot'"]),
    "data set": (changed(data="digit"), ["unknown data set 'digit'", "'digits'"]),
    "model": (changed(model="resnet2"), ["unknown model 'resnet2'", "'resnet20'"]),
    "notion": (changed(cells="groups"), ["cells:", "'group'"]),
    "sparsity 1": (changed(sparsities=[0.5, 1.0]), ["sparsities.1", "less than 1", "got 1.0"]),
    "sparsity -0.1": (changed(sparsities=-0.1), ["sparsities.0", "greater than or equal to 0"]),
    "sparsity twice": (changed(sparsities=[0.5, 0.5]), ["sparsities: 0.5 is there twice"]),
    "sparsity of a method": (
        changed(methods=[{"name": "lth", "sparsity": 0.5}]),
        ["methods.0.sparsity", "'sparsities'"],
    ),
    "no method": (changed(methods=[]), ["methods:", "at least 1"]),
    "method twice": (changed(methods=["lth", "lth"]), ["methods.1: 'lth'", "methods.0"]),
    "nameless method": (changed(methods=[{"scope": "erk"}]), ["methods.0: needs a name"]),
    "thresholds": (changed(controls="thresholds"), ["thresholds are for 2 classes", "has 10"]),
    "epochs": (changed(training={"epochs": -1}), ["training.epochs", "got -1"]),
    "batch": (changed(training={"batch_size": 0}), ["training.batch_size", "got 0"]),
    "rate": (changed(training={"lr": 0}), ["training.lr", "greater than 0"]),
    "infinite rate": (changed(training={"lr": float("inf")}), ["training.lr", "finite", "inf"]),
    "nan": (
        changed(methods=[{"name": "ballot", "lambda_conflict": float("nan")}]),
        ["methods.0.lambda_conflict", "finite"],
    ),
    "seed": (changed(seeds=[-1]), ["seeds.0", "got -1"]),
    "resamples": (changed(resamples=3), ["resamples", "100"]),
    "type": (changed(training={"epochs": "many"}), ["training.epochs", "integer", "'many'"]),
    "no mapping": ([1, 2], ["a configuration is a mapping", "got list"]),
    "empty file": (None, ["a configuration is a mapping", "got NoneType"]),
    "no data": ({"model": "mlp"}, ["data: missing"]),
    "levels": (
        changed(methods=[{"name": "lth", "levels": [0.5, 0.2]}]),
        ["levels are [0.5, 0.2]", "rising"],
    ),
    "group notion": (changed(cells="group"), ["'group' compares groups", "has 0"]),
    "margin": (
        changed(data={"name": "table", "path": "people.csv", "target": "y", "groups": ["g"]})
        | {"cells": "group", "methods": [{"name": "ballot", "refinement": {"form": "margin"}}]},
        ["'margin'", "'class'"],
    ),
    "emptied layer": (
        changed(methods=[{**MAGNITUDE, "floor": 0}], sparsities=[0.9999]),
        ["would empty layer", "lower the sparsity"],
    ),
    "missing files": (
        changed(data={"name": "adult", "path": "nowhere"}),
        ["data.path: there is nothing at 'nowhere'", "data set 'adult'"],
    ),
    "missing files of a folder": (
        changed(data={"name": "adult", "path": "."}),
        ["adult.data, adult.test", "set path"],
    ),
    "missing path": (changed(data={"name": "adult"}), ["data.path: missing"]),
    "missing table": (
        changed(data={"name": "table", "path": "gone.csv", "target": "y"}),
        ["data.path: there is nothing at 'gone.csv'"],
    ),
    "image model": (
        changed(data={"name": "table", "path": "people.csv", "target": "y"}, model="lenet"),
        ["lenet takes images", "use mlp"],
    ),
    "augment": (
        changed(data={"name": "table", "path": "people.csv", "target": "y"})
        | {"training": {"epochs": 1, "augment": ["flip"]}},
        ["augment takes images"],
    ),
    "width": (changed(model="mine:narrow"), ["outputs of shape (2, 7)", "10 classes"]),
    "nothing to prune": (changed(model="mine:single"), ["nothing to prune", "prune_last"]),
    "no module": (changed(model="nothere:net"), ["no module 'nothere'"]),
    "no factory": (changed(model="mine:gone"), ["mine has no callable 'gone'"]),
    "empty module": (changed(model=":net"), ["model:", "module"]),
    "factory option": (
        changed(model={"name": "mine:narrow", "depth": 3}),
        ["model.depth: unknown setting", "known: none"],
    ),
    "no network": (changed(model="mine:text"), ["made a str", "nn.Module"]),
    "no bias for offsets": (
        changed(model="mine:unbiased")
        | {"methods": [{"name": "ballot", "refinement": {"offsets": True}}]},
        ["last linear layer", "offsets"],
    ),
}

FACTORIES = """
from torch import nn

def narrow(input_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 7))

def single(input_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))

def unbiased(input_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, n_classes, bias=False))

def text(input_shape, n_classes):
    return "net"
"""


def people(n: int = 120) -> pd.DataFrame:
    """A table of four numbers, two classes and two groups."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
    return frame.assign(y=np.arange(n) % 2, g=np.arange(n) // 2 % 2)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table and a module of factories."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    people().to_csv("people.csv", index=False)
    Path("mine.py").write_text(FACTORIES)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    return tmp_path


@pytest.mark.parametrize("case", CONFIGS)
def test_configuration(case: str, here: Path, capsys: Capture) -> None:
    values, words = CONFIGS[case]
    config = write_config(here / "c.yaml", values)
    refused(call(capsys, "run", config, "--trust", "--out", "out"), *words)
    assert not Path("out").exists()


EARLY = """
import sys
from fairsparse.cli import main

def refused(*arguments):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        return end.code
heavy = {"torch", "sklearn", "scipy", "pandas", "numpy", "matplotlib", "accelerate"}
configurations = [a for a in sys.argv[1:]]
codes = [refused("run", c) for c in configurations] + [refused("run", "gone.yaml")]
codes += [refused("search", configurations[0], "--budget", "range=0.1"), refused("list", "rows")]
assert set(codes) == {2}, codes
assert not refused("list", "methods") and not refused("list", "datasets", "--options")
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
# what needs a network, the data or a module of the user's to be told
LATE = {
    *("thresholds", "levels", "group notion", "margin", "emptied layer", "image model", "augment"),
    *("missing files of a folder", "width", "nothing to prune", "no module", "no factory"),
    *("empty module", "factory option", "no network", "no bias for offsets"),
}


def test_what_configurations_say_by_themselves_is_refused_before_torch_is_imported(
    here: Path,
) -> None:
    early = [case for case in CONFIGS if case not in LATE]
    assert len(early) > 30
    paths = [str(write_config(here / f"{i}.yaml", CONFIGS[c][0])) for i, c in enumerate(early)]
    ended = subprocess.run(
        [sys.executable, "-c", EARLY, *paths], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert ended.returncode == 0, ended.stderr
    for case, line in zip(early, ended.stderr.splitlines(), strict=False):
        assert all(word in line for word in CONFIGS[case][1]), (case, line)


@pytest.mark.parametrize("case", [c for c in CONFIGS if c not in LATE])
def test_the_outline_refuses_as_the_code_does(case: str, here: Path) -> None:
    values = yaml.safe_load(write_config(here / "c.yaml", CONFIGS[case][0]).read_text())
    with pytest.raises(InputError) as early:
        precheck(values)
    if "data.path: there is nothing" not in str(early.value):
        with pytest.raises(InputError) as late:
            make_config(values)
        assert str(early.value) == str(late.value)


@pytest.mark.parametrize(
    "values",
    [
        *(STUDIES[name] for name in STUDIES),
        changed(model="mine:narrow", cells="group", seeds=3, sparsities=0.5, controls="offsets"),
        changed(methods=[{"name": "ballot", "tolerance": 0.1, "refinement": {"strength": 2}}]),
        changed(methods=[{"name": "magnitude", "grouping": 124}], training={"augment": ["flip"]}),
        changed(methods=[{"name": name} for name in METHODS], model={"name": "hf:x", "y": 1}),
        changed(methods={"name": "ballot", "budget": {"limit": 1}, "rewind_at": "search"}),
    ],
)
def test_what_the_code_takes_the_outline_takes(values: dict[str, Any], here: Path) -> None:
    for name in ("people.csv", "shapes.csv", "texts.csv"):
        Path(name).touch()
    precheck(values)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--set", "seeds"], ["--set takes key=value", "'seeds'"]),
        (["--set", "=3"], ["--set takes key=value"]),
        (["--set", "nowhere.at.all=1"], ["nowhere: unknown setting"]),
        (["--set", "methods.3.floor=0"], ["methods.3.floor", "no '3'"]),
        (["--set", "resamples.many=1"], ["resamples.many"]),
        (["--set", "training.epochs=[1"], ["not valid YAML", "training.epochs"]),
        (["--set", "training.epochs="], ["training.epochs", "None"]),
        (["--sett", "a=1"], ["No such option", "--sett", "run --help"]),
    ],
)
def test_overrides(args: list[str], words: list[str], here: Path, capsys: Capture) -> None:
    config = write_config(here / "c.yaml", TINY)
    refused(call(capsys, "run", config, "--out", "out", *args), *words)
    assert not Path("out").exists()


def test_configuration_files(here: Path, capsys: Capture) -> None:
    refused(call(capsys, "run", "gone.yaml"), "gone.yaml", "No such file")
    refused(call(capsys, "run", here), "cannot be read (Is a directory)")
    Path("broken.yaml").write_text("data: digits\nmodel: [mlp\ntraining: {}\n")
    refused(call(capsys, "run", "broken.yaml"), "broken.yaml: not valid YAML in line 3")
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    refused(call(capsys, "run", "binary.yaml"), "binary.yaml", "UTF-8")
    Path("twice.yaml").write_text("data: digits\nmodel: mlp\ndata: {name: digits}\n")
    refused(call(capsys, "run", "twice.yaml"), "twice.yaml, line 3: 'data' is given twice")
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)]
    Path("bomb.yaml").write_text("a0: &a0 [x]\n" + "".join(levels))
    refused(call(capsys, "run", "bomb.yaml"), "bomb.yaml, line 6: more than 50,000 values")
    Path("deep.yaml").write_text("data: " + "[" * 100_000)
    refused(call(capsys, "run", "deep.yaml"), "deep.yaml, line 1: nested more than 50 deep")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run"], ["Missing argument", "fairsparse run --help"]),
        (["rum"], ["No such command 'rum'", "--help"]),
        (["list", "method"], ["'method'", "methods", "list --help"]),
        (["demo", "--out"], ["'--out' requires an argument", "--help"]),
    ],
)
def test_usage(args: list[str], words: list[str], capsys: Capture) -> None:
    refused(call(capsys, *args), *words)


def infinite(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(a=frame["a"].where(frame.index != 7, np.inf))


def splits(frame: pd.DataFrame) -> pd.DataFrame:
    names = np.array(["train", "train", "cal", "val", "test"])[np.arange(len(frame)) // 4 % 5]
    return frame.assign(part=names)


TABLES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], dict[str, Any], list[str]]] = {
    "infinite": (infinite, {}, ["'a' is infinite", "row 8"]),
    "one class": (lambda f: f.assign(y=1), {}, ["has 1 class", "at least 2"]),
    "missing class": (
        lambda f: f.assign(y=f["y"].where(f.index != 3)),
        {},
        ["'y' is missing in 1 rows", "row 4"],
    ),
    "unknown split": (
        lambda f: splits(f).assign(part=lambda s: s["part"].replace("cal", "dev")),
        {"split_column": "part"},
        ["'part' has the values dev", "train, cal, val, test"],
    ),
    "class empty in a split": (
        lambda f: splits(f).query("not (part == 'val' and y == 1)"),
        {"split_column": "part"},
        ["classes without examples in the val split: 1"],
    ),
    "group empty in a split": (
        lambda f: splits(f).query("not (part == 'cal' and g == 0)"),
        {"split_column": "part", "groups": ["g"]},
        ["groups without examples in the cal split: 0"],
    ),
    "cell empty in a split": (
        lambda f: splits(f).query("not (part == 'cal' and g == 0 and y == 1)"),
        {"split_column": "part", "groups": ["g"]},
        ["cell '1 | 0' has no examples in the cal split"],
    ),
    "unknown column": (lambda f: f, {"groups": ["gg"]}, ["no column 'gg'", "'g'"]),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables(case: str, here: Path, capsys: Capture) -> None:
    change, options, words = TABLES[case]
    change(people()).to_csv("changed.csv", index=False)
    data = {"name": "table", "path": "changed.csv", "target": "y", **options}
    cells = "equalized-odds" if case.startswith("cell") else "class"
    config = write_config(here / "c.yaml", changed(data=data, cells=cells))
    refused(call(capsys, "run", config, "--out", "out"), *words)
    assert not Path("out").exists()


def test_images_of_different_sizes(here: Path, capsys: Capture) -> None:
    for i in range(60):
        side = 9 if i == 30 else 8
        Image.new("L", (side, side), i).save(f"{i}.png")
    frame = pd.DataFrame({"file": [f"{i}.png" for i in range(60)], "label": np.arange(60) % 2})
    frame.to_csv("images.csv", index=False)
    values = changed(data={"name": "image-table", "path": "images.csv"})
    config = write_config(here / "c.yaml", values)
    refused(call(capsys, "run", config, "--out", "out"), "images differ in size", "set size")
    assert not Path("out").exists()


def test_images_that_do_not_decode_stop_or_are_left_out(here: Path, capsys: Capture) -> None:
    for i in range(60):
        Image.new("L", (8, 8), i).save(f"{i}.png")
    frame = pd.DataFrame({"file": [f"{i}.png" for i in range(60)], "label": np.arange(60) % 2})
    frame.to_csv("images.csv", index=False)
    Path("30.png").write_bytes(b"no image")
    values = changed(data={"name": "image-table", "path": "images.csv"})
    config = write_config(here / "c.yaml", values)
    refused(call(capsys, "run", config, "--out", "out"), "30.png cannot be decoded")
    assert not Path("out").exists()
    ended = call(capsys, "run", config, "--skip-bad-images", "--out", "out")
    assert ended.code == 0
    assert "1 of 60 images do not decode" in Path("out/report.html").read_text()


def test_labels_out_of_range(here: Path, capsys: Capture) -> None:
    for stem, n in (("train", 200), ("t10k", 100)):
        labels = (np.arange(n) % 12).astype(np.uint8)  # the official file knows 0 .. 9
        pixels = np.zeros((n, 28, 28), np.uint8)
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
            Path(f"{stem}-{name}-ubyte").write_bytes(head + array.tobytes())
    config = write_config(here / "c.yaml", changed(data={"name": "fashion-mnist", "path": "."}))
    refused(call(capsys, "run", config, "--out", "out"), "labels from 0 to 11", "0 .. 9")
    assert not Path("out").exists()


def test_directories_that_are_taken(here: Path, capsys: Capture) -> None:
    config = write_config(here / "c.yaml", TINY)
    Path("file").write_text("mine")
    Path("folder").mkdir()
    Path("folder/notes.txt").write_text("mine")
    for out in ("file", "folder"):
        refused(call(capsys, "run", config, "--out", out), f"{out} exists", "another --out")
    assert tree(here / "folder") == {"notes.txt": b"mine"}
    Path("damaged").mkdir()
    Path("damaged/config.yaml").write_text("data: [")
    refused(call(capsys, "run", config, "--out", "damaged"), "damaged/config.yaml is damaged")


def test_another_configuration_and_damaged_files(here: Path, capsys: Capture) -> None:
    config = write_config(here / "c.yaml", TINY)
    assert call(capsys, "run", config, "--out", "out").code == 0
    before = tree(here / "out")
    other = ("--set", "training.epochs=2", "--set", "seeds=3")
    refused(
        call(capsys, "run", config, "--out", "out", *other),
        "out holds the runs of another configuration (training, seeds differ)",
    )
    assert tree(here / "out") == before
    (record,) = here.glob("out/record.json")
    record.write_bytes(before["record.json"][:100])
    refused(call(capsys, "run", config, "--out", "out"), "out/record.json", "delete it")
    record.unlink()
    stage = min(here.glob("out/stages/*"))
    for content in (stage.read_bytes()[:-9], stage.read_bytes()[:-9] + b"tampered!"):
        stage.write_bytes(content)
        now = tree(here / "out")
        ended = call(capsys, "run", config, "--out", "out")
        refused(ended, f"out/stages/{stage.name}", "delete it and run again")
        assert tree(here / "out") == now
    for stage in here.glob("out/stages/*"):
        stage.unlink()
    assert call(capsys, "run", config, "--out", "out").code == 0
    assert tree(here / "out").keys() == before.keys()


def test_a_run_that_diverges_says_what_it_left(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = changed(training={"epochs": 3, "batch_size": 32})
    config = write_config(here / "c.yaml", values)
    plain = Loop._update

    def broken(self: Loop, loss: Any, rate: float) -> None:
        plain(self, loss, rate)
        if self.stage == "magnitude 0.5" and self.step > self.total // 2:
            with torch.no_grad():
                next(self.model.parameters()).fill_(np.inf)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_update", broken)
        ended = call(capsys, "run", config, "--out", "out")
    refused(
        ended,
        "magnitude 0.5: 1.weight is no longer finite in epoch 1; lower",
        "of step 4 in out/last-good.safetensors and 1 finished stage in out/stages",
    )
    state, about = read_tensors(Path("out/last-good.safetensors"))
    assert about == {"kind": "last good", "step": 4}
    assert all(bool(t.isfinite().all()) for t in state.values())
    assert not Path("out/record.json").exists()
    refused(
        call(capsys, "run", config, "--out", "wild", "--set", "training.lr=1e30"),
        "dense: the loss became",
        "no epoch of this stage was good, and kept are 0 finished stages in wild/stages",
    )
    assert call(capsys, "run", config, "--out", "out").code == 0


def test_data_that_changed_under_a_finished_run(here: Path, capsys: Capture) -> None:
    values = changed(data={"name": "table", "path": "people.csv", "target": "y"})
    config = write_config(here / "c.yaml", values)
    assert call(capsys, "run", config, "--out", "out").code == 0
    people(140).to_csv("people.csv", index=False)
    refused(call(capsys, "run", config, "--out", "out"), "the data have changed")


def test_a_process_says_one_line_too(here: Path) -> None:
    config = write_config(here / "c.yaml", changed(methods=["balot"]))
    refused(process("run", config, cwd=here), "unknown method 'balot'", "'ballot'")
    assert not Path("runs").exists()
