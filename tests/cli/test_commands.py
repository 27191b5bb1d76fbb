"""What each command prints and writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import fairsparse
from fairsparse import DATASETS, METHODS, METRICS, MODELS, read_config
from fairsparse.cli import program
from fairsparse.experiments import config as configuration
from fairsparse.experiments.plan import plan
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.notions import NOTIONS
from runs import TINY, call, process, study, tree, write_config

Capture = pytest.CaptureFixture[str]
FILES = {
    *("config.yaml", "record.json", "dense.safetensors", "sparse.safetensors"),
    *("predictions.npz", "report.html"),
}
KINDS = {
    "methods": METHODS,
    "datasets": DATASETS,
    "models": MODELS,
    "metrics": [*METRICS, *DEGRADATIONS],
    "notions": NOTIONS,
}


def test_version_as_a_process() -> None:
    ended = process("--version")
    assert ended == (0, f"fairsparse {fairsparse.__version__}\n", "")


def test_the_module_is_the_command_line(tmp_path: Path) -> None:
    for args, code in ((["--version"], 0), (["run", "no.yaml"], 2)):
        ended = subprocess.run(
            [sys.executable, "-m", "fairsparse", *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == code
        assert (ended.stdout, ended.stderr) == process(*args, cwd=tmp_path)[1:]


@pytest.mark.parametrize("args", [[], ["demo"], ["run"], ["search"], ["list"]])
def test_help_shows_an_example(args: list[str], capsys: Capture) -> None:
    ended = call(capsys, *args, "--help")
    assert ended.code == 0
    assert "Example: fairsparse " + " ".join(args) in ended.out


def test_no_arguments_are_a_question_for_help(capsys: Capture) -> None:
    assert call(capsys) == call(capsys, "--help")


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nsys.argv = ['fairsparse', 'run', '--help']\nfrom fairsparse import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize("what", KINDS)
def test_list_has_a_sentence_for_every_name(what: str, capsys: Capture) -> None:
    lines = call(capsys, "list", what).out.splitlines()
    names = [line.strip() for line in lines if line and not line.startswith(" ")]
    assert [n for n in names if ":" not in n] == list(KINDS[what])
    for name in names:
        below = lines[lines.index(next(x for x in lines if x.strip() == name)) + 1 :]
        text = ""
        for line in below:
            if not line.startswith("  "):
                break
            text += line + "\n"
        sentence = text.split(".")[0]
        assert sentence.strip()[0].isupper()
        assert len(sentence.split()) > 2
        assert "." in text


def test_list_options_names_each_with_default_and_words(capsys: Capture) -> None:
    lines = call(capsys, "list", "methods", "--options").out.splitlines()
    strength = next(line for line in lines if "refinement.strength" in line)
    assert strength.split()[:5] == ["refinement.strength", "0.5", "of", "the", "form,"]
    assert any(line.split()[:2] == ["tolerance", "0.01"] for line in lines if line.strip())
    assert not any("sparsity" in line.split()[:1] for line in lines)  # set for all methods at once
    options = call(capsys, "list", "datasets", "--options").out
    assert "(required)" in options
    assert "Share of all examples" in options  # said in the docstring of the builder


def test_a_study_has_a_directory_per_run_and_one_report() -> None:
    out, ended = study()
    assert {p.name for p in out.iterdir()} == {
        *("config.yaml", "report.html", "stages"),
        *("dense-seed0", "lth-0.8-seed0", "ballot-0.8-seed0", "ballot-2-0.8-seed0"),
    }
    for folder in out.glob("*-seed0"):
        assert {p.name for p in folder.iterdir()} == FILES
    assert "ballot-2-0.8-seed0/report.html" in (out / "report.html").read_text()
    # the dense network is trained once, whichever of its states the methods need
    seconds = [json.loads(p.read_text())["timings"]["dense"] for p in out.glob("*/record.json")]
    assert len(seconds) == 4
    assert len(set(seconds)) == 1
    assert ended.err == ""
    assert f"Report: {out / 'report.html'}" in ended.out


def test_each_run_directory_repeats_its_run() -> None:
    out, _ = study()
    names = []
    for path in sorted(out.glob("*/config.yaml")):
        config = read_config(path)
        assert config.to_dict() == yaml.safe_load(path.read_text())
        assert config.to_dict() == json.loads((path.parent / "record.json").read_text())["config"]
        (job,) = plan(config)
        names.append(job.name)
    assert names == ["ballot-2-0.8-seed0".replace("-2", "")] * 2 + ["dense-seed0", "lth-0.8-seed0"]
    whole = read_config(out / "config.yaml")
    assert [job.name for job in plan(whole)] == [
        *("dense-seed0", "lth-0.8-seed0", "ballot-0.8-seed0", "ballot-2-0.8-seed0")
    ]


def test_one_run_fills_its_directory_and_runs_once(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "small.yaml", {**TINY, "methods": "dense"})
    first = call(capsys, "run", "small.yaml", "--set", "training.epochs=2")
    assert first.code == 0, first.err
    assert {p.name for p in Path("runs/small").iterdir()} == {*FILES, "stages"}
    assert yaml.safe_load(Path("runs/small/config.yaml").read_text())["training"]["epochs"] == 2
    before = tree(Path("runs"))
    assert call(capsys, "run", "small.yaml", "--set", "training.epochs=2") == first
    assert tree(Path("runs")) == before


def test_overrides_reach_lists_and_shorthands(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", {"data": "digits", "model": "mlp", "methods": "lth"})
    sets = [
        "data.longtail=0.5",
        "model.hidden=[5]",
        "methods.0.levels=[0.25]",
        "sparsities=[0, 9e-1]",
    ]
    config = read_config(path, [*sets, "training.lr=1e-3", "cells=class"])
    assert config.data["longtail"] == 0.5
    assert config.model["hidden"] == [5]
    assert config.methods[0]["levels"] == [0.25]
    assert config.sparsities == (0.0, 0.9)
    assert config.training.lr == 1e-3
    assert read_config(path, ["methods.0=magnitude"]).methods[0]["name"] == "magnitude"


def test_demo_runs_its_configuration(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(configuration.DEMO)
    assert {m["name"] for m in config.methods} == {"dense", "magnitude", "lth", "ballot"}
    assert config.data["longtail"] < 1
    monkeypatch.setattr(configuration, "DEMO", write_config(tmp_path / "demo.yaml", TINY))
    ended = call(capsys, "demo", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "magnitude" in ended.out
    assert {p.name for p in (tmp_path / "out").iterdir()} >= FILES


def test_progress_shows_figures_and_cells_that_nobody_is_in() -> None:
    bar = program._Bar()
    log: dict[str, Any] = {"loss": 1.25, "accuracy": 0.5, "worst": 0.125, "worst_cell": "[b]"}
    bar.show("dense", 10, 20, log)
    bar.show("dense", 20, 20, {**log, "worst": None, "worst_cell": None})
    bar.show("dense", 1, 20, log)  # the next seed's dense network
    done, new = bar.tasks
    assert done.finished
    assert done.fields["figures"] == "loss 1.250  accuracy 0.500"
    assert new.fields["figures"] == "loss 1.250  accuracy 0.500  worst [b] 0.125"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupts_and_our_own_faults(
    error: type[BaseException], capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise error("ours")

    monkeypatch.setattr("fairsparse.experiments.run.run", fail)
    config = write_config(tmp_path / "c.yaml", TINY)
    ended = call(capsys, "run", config)
    if error is RuntimeError:  # a traceback is for those who mend the program; 1 is a verdict
        assert ended.code == 2
        assert "RuntimeError: ours" in ended.err
        assert ended.err.endswith("this is a fault of fairsparse; please report it\n")
    else:
        assert ended.code == 130
        assert ended.err.strip() == "fairsparse: interrupted; the same command continues"


def test_every_public_name_can_be_imported() -> None:
    assert set(fairsparse._HOME) | {"__version__"} == set(fairsparse.__all__)
    for name in fairsparse.__all__:
        assert getattr(fairsparse, name) is not None
        assert name in dir(fairsparse)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = fairsparse.nothing_such
