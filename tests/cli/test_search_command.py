"""`fairsparse search`: what it prints, its exit codes, bad input, and kills."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runs import ENVIRONMENT, TINY, call, command, process, tree, write_config

Capture = pytest.CaptureFixture[str]
LTH = {
    **TINY,
    "data": {"name": "digits", "limit": 600, "val": 0.3},
    "training": {"epochs": 3, "batch_size": 16},
    "methods": [{"name": "lth", "fraction": 0.6}],
}
RANGE = ("--low", "0.4", "--high", "0.8", "--resolution", "0.1")
FILES = {
    *("config.yaml", "record.json", "dense.safetensors", "sparse.safetensors"),
    *("predictions.npz", "report.html"),
}


def test_a_search_prints_its_candidates_and_the_confirmation(
    tmp_path: Path, capsys: Capture
) -> None:
    config, out = write_config(tmp_path / "c.yaml", LTH), tmp_path / "out"
    args = ("search", config, "--budget", "excess-drop=0.9", *RANGE, "--out", out)
    first = call(capsys, *args)
    assert first.code == 0, first.err
    found = json.loads((out / "search.json").read_text())
    (run,) = out.glob("lth-*")
    assert {p.name for p in run.iterdir()} == FILES
    assert {p.name for p in out.iterdir()} == {"search.json", "stages", run.name}
    text = " ".join(first.out.replace("\xa0", " ").split())
    for c in found["candidates"]:
        row = f"{100 * c['sparsity']:.5g} % {100 * c['accuracy']:.1f} % {100 * c['value']:.2f} poi"
        assert row in text
        assert f"{100 * c['bound']:.2f} points {'yes' if c['within'] else 'no'}" in text
    assert f"looked at {len(found['candidates'])} candidates" in text
    assert "optimistic" in text
    assert f"upper bound {100 * found['confirmation']['bound']:.2f} points" in text
    assert f"Report: {run / 'report.html'}" in text
    before = tree(out)
    assert call(capsys, *args) == first
    assert tree(out) == before


def test_nothing_within_the_budget_is_exit_code_1(tmp_path: Path, capsys: Capture) -> None:
    config, out = write_config(tmp_path / "c.yaml", LTH), tmp_path / "out"
    args = ("search", config, "--budget", "variance=0", *RANGE, "--out", out)
    ended = call(capsys, *args, "--set", "training.epochs=1")
    assert ended.code == 1
    text = " ".join(ended.out.replace("\xa0", " ").split())
    assert "Even the lowest sparsity, 40 %, is not within the budget (variance at most" in text
    assert "Report" not in text
    assert ended.err == ""
    assert {p.name for p in out.iterdir()} == {"search.json", "stages"}


BAD = {
    "no budget": ([], ["Missing option '--budget'", "search --help"]),
    "measure": (["--budget", "rang=0.1"], ["unknown budget measure 'rang'", "'range'"]),
    "no limit": (["--budget", "range"], ["MEASURE=LIMIT", "'range'"]),
    "word for a limit": (["--budget", "range=low"], ["number of at least 0", "'low'"]),
    "negative": (["--budget", "range=-1"], ["number of at least 0", "'-1'"]),
    "low": (["--budget", "range=1", "--low", "1"], ["low: ", "less than 1", "got 1.0"]),
    "high": (["--budget", "range=1", "--high", "-0.5"], ["high: ", "greater than or equal to 0"]),
    "order": (["--budget", "range=1", "--low", "0.9", "--high", "0.5"], ["low is 0.9", "high 0.5"]),
    "nan": (["--budget", "range=1", "--low", "nan"], ["low", "finite"]),
    "resolution": (["--budget", "range=1", "--resolution", "0"], ["resolution: ", "0.0001"]),
    "runs": (["--budget", "range=1", "--runs", "0"], ["runs: ", "greater than or equal to 1"]),
    "word": (["--budget", "range=1", "--runs", "few"], ["'--runs'", "integer", "search --help"]),
    "methods": (
        ["--budget", "range=1", "--set", "methods=[lth, ballot]"],
        ["one method with one seed", "methods lth, ballot", "--set methods=lth"],
    ),
    "seeds": (["--budget", "range=1", "--set", "seeds=[0, 1]"], ["seeds 0, 1", "--set seeds=0"]),
    "setting": (["--budget", "range=1", "--set", "sead=1"], ["sead: unknown setting"]),
    "budget of a method": (
        ["--budget", "range=1", "--set", "methods.0.budget.measure=gap"],
        ["methods.0.budget", "limit"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str, tmp_path: Path, capsys: Capture) -> None:
    args, words = BAD[case]
    config = write_config(tmp_path / "c.yaml", LTH)
    ended = call(capsys, "search", config, *args, "--out", tmp_path / "out")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("fairsparse: ")
    assert ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err
    assert not (tmp_path / "out").exists()


def test_taken_directories(tmp_path: Path, capsys: Capture) -> None:
    config, out = write_config(tmp_path / "c.yaml", LTH), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    args = ("search", config, "--budget", "range=1", "--out", out)
    ended = call(capsys, *args)
    assert (ended.code, ended.out) == (2, "")
    assert "out exists and is not a search directory; choose another --out\n" in ended.err
    assert tree(out) == {"notes.txt": b"mine"}


def test_two_kills_change_nothing(tmp_path: Path) -> None:
    config, out = write_config(tmp_path / "c.yaml", LTH), tmp_path / "out"
    args = ("search", config, "--budget", "excess-drop=0.9", *RANGE)
    for stages in (1, 3):
        started = subprocess.Popen(
            command(*args, "--out", out),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(list(out.glob("stages/*.safetensors"))) < stages:
            assert started.poll() is None, "the search ended before it was killed"
            time.sleep(0.002)
        started.send_signal(signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL
    ended = process(*args, "--out", out)
    assert ended.code == 0, ended.err
    whole = process(*args, "--out", tmp_path / "whole")
    assert ended.out.replace("out", "") == whole.out.replace("whole", "")
    files, expected = tree(out), tree(tmp_path / "whole")
    assert files.keys() == expected.keys()
    same = [name for name in files if name.endswith(("search.json", "sparse.safetensors", "yaml"))]
    assert len(same) == 3
    assert all(files[name] == expected[name] for name in same)
