"""The command explain on images, a table and texts: what it prints, writes and refuses."""

from __future__ import annotations

import base64
import copy
import csv
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fairsparse
from fairsparse.models import build
from fairsparse.report.explain.pictures import data_uri
from report.page import Page
from runs import TINY, call

QUICK = ("--sample", "40", "--examples", "3")


def made(config: dict[str, Any], out: Path) -> Path:
    fairsparse.run(fairsparse.make_config(config), out)
    return out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explain")


@pytest.fixture(scope="module")
def images(home: Path) -> Path:
    """Two runs of a small network on digits."""
    config = {
        **TINY,
        "model": {"name": "small-cnn", "width": 4},
        "training": {"epochs": 4, "batch_size": 32, "lr": 0.05},
        "methods": ["magnitude", {"name": "lth", "levels": [0.6]}],
        "sparsities": [0.85],
    }
    return made(config, home / "images")


@pytest.fixture(scope="module")
def table(home: Path) -> Path:
    rng = random.Random(0)
    rows = ["age,job,sex,label"]
    for _ in range(500):
        age, job, sex = rng.randrange(20, 70), rng.choice(["clerk", "", "a<b"]), rng.choice("fm")
        rows.append(f"{age},{job},{sex},{int(age + 20 * (job == 'clerk') + rng.gauss(0, 9) > 50)}")
    (home / "people.csv").write_text("\n".join(rows) + "\n")
    data = {"name": "table", "path": str(home / "people.csv"), "target": "label", "groups": ["sex"]}
    config = {
        **TINY,
        "data": data,
        "model": {"name": "mlp", "hidden": [16, 16]},
        "training": {"epochs": 6, "batch_size": 32, "lr": 0.05},
        "cells": "class-group",
        "sparsities": [0.9],
    }
    return made(config, home / "table")


@pytest.fixture(scope="module")
def texts(home: Path) -> Path:
    rng = random.Random(0)
    rows = ["text,label,place"]
    for i in range(400):
        happy = rng.randrange(2)
        words = [*rng.choices(["day", "film", "very", "so"], k=rng.randrange(1, 6))]
        words.insert(rng.randrange(len(words)), ("awful", "wonderful")[happy])
        rows.append(f"{' '.join(words)},{happy},{'ab'[i % 2]}")
    (home / "texts.csv").write_text("\n".join(rows) + "\n")
    data = {"name": "text", "path": str(home / "texts.csv"), "groups": ["place"], "vocab_size": 100}
    small = {"vocab_size": 100, "hidden": 16, "heads": 2, "intermediate": 24, "layers": 1}
    config = {
        **TINY,
        "data": data,
        "model": {"name": "bert", **small},
        "training": {"epochs": 3, "batch_size": 32, "lr": 0.01, "optimizer": "adamw"},
        "cells": "group",
        "sparsities": [0.95],
    }
    return made(config, home / "texts")


def page_of(folder: Path) -> Page:
    """The parsed report, which loads nothing, runs nothing, and describes its pictures."""
    page = Page((folder / "report.html").read_text())
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    for tag, attributes in page.tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "data:").startswith(("data:", "#")), attributes
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["aria-label"]
    return page


def cell(document: dict[str, Any], network: str, attribute: str, name: str) -> dict[str, Any]:
    wanted = {"network": network, "attribute": attribute, "cell": name}
    (found,) = [c for c in document["cells"] if wanted.items() <= c.items()]
    return found


def test_images(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = images / "magnitude-0.85-seed0", images / "lth-0.85-seed0"
    ended = call(capsys, "explain", run, "--with", other, "--out", tmp_path / "e", *QUICK)
    assert ended.code == 0, ended.err
    document = json.loads((tmp_path / "e" / "explain.json").read_text())
    assert document["format"] == "fairsparse-explain/1"
    assert document["maps"].startswith("Grad-CAM at layer 7")

    # the mean over the sample is that of the table of examples
    rows = list(csv.DictReader(io.StringIO((tmp_path / "e" / "heatmaps.csv").read_text())))
    assert len(rows) == 40
    assert list(rows[0]) == ["index", "class", "random mask", "pruned", "weight"]
    known = [(float(r["weight"]), float(r["pruned"])) for r in rows if r["pruned"]]
    weights, values = np.array(known).T
    every = cell(document, "pruned", "all", "all")
    assert every["correlation"] == pytest.approx((weights * values).sum() / weights.sum())
    assert every["constant"] == len(rows) - len(known)
    assert {r["class"] for r in rows} == {str(k) for k in range(10)}  # all cells are in the sample

    # shown are examples that pruning lost, as the run's own predictions have it
    result = fairsparse.load(run)
    y = result.predictions["test_y"]
    lost = (result.predictions["test_dense"].argmax(1) == y) & (
        result.predictions["test_sparse"].argmax(1) != y
    )
    assert document["flips"] == lost.sum() > 3
    shown = [s["index"] for s in document["shown"]]
    assert len(shown) == 3
    assert lost[shown].all()
    assert len({y[i] for i in shown}) == 3  # each of another class
    for s in document["shown"]:
        said = int(result.predictions["test_sparse"][s["index"]].argmax())
        assert s["predicted"]["pruned"] == str(said)
        assert s["predicted"]["dense"] == s["class"]

    # the maps are of the class that the dense network predicts, of these rows of the test split
    dense = copy.deepcopy(result.model)
    dense.load_state_dict(result.dense)
    task = fairsparse.DATASETS["digits"](limit=200)
    split = task.test.subset(torch.tensor([int(r["index"]) for r in rows]))
    maps = fairsparse.heatmaps({"dense": dense, "pruned": result.model}, split)
    again = fairsparse.agreement(maps, split.y).examples["pruned"]
    told = [float(r["pruned"] or "nan") for r in rows]
    assert again.tolist() == pytest.approx(told, abs=1e-4, nan_ok=True)
    assert (result.predictions["test_sparse"].argmax(1) != result.predictions["test_y"]).sum() > 50

    # the ends of the line are the two pruned networks on validation
    logits = torch.from_numpy(result.predictions["val_sparse"]).double()
    labels = torch.from_numpy(result.predictions["val_y"])
    line = document["line"]
    assert len(line["at"]) == 21
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert line["loss"][0] == pytest.approx(loss, rel=1e-4)
    ends = fairsparse.load(other).predictions
    wrong = (ends["val_sparse"].argmax(1) != ends["val_y"]).mean()
    assert line["error"][-1] == pytest.approx(wrong)
    straight = np.interp(line["at"], [0, 1], [line["loss"][0], line["loss"][-1]])
    assert line["barrier"] == pytest.approx(max(0, (np.array(line["loss"]) - straight).max()))

    page = page_of(tmp_path / "e")
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 4 * 3
    assert len(page.plot) == 2
    assert f"{every['correlation']:.2f}" in " ".join(page.text.split())
    assert " ".join(ended.out.split())[:60] in " ".join(page.text.split())


def test_the_same_seed_writes_the_same(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = images / "magnitude-0.85-seed0"
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert (
            call(capsys, "explain", run, "--out", tmp_path / name, "--seed", seed, *QUICK)[0] == 0
        )
    read = {n: (tmp_path / n / "report.html").read_bytes() for n in "abc"}
    assert read["a"] == read["b"] != read["c"]
    assert not list(tmp_path.rglob(".*"))


def test_a_table(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = call(capsys, "explain", table, "--out", tmp_path / "e", *QUICK)
    assert ended.code == 0, ended.err
    document = json.loads((tmp_path / "e" / "explain.json").read_text())
    assert document["maps"].startswith("Integrated gradients of the inputs")
    assert document["line"] is None
    assert cell(document, "pruned", "class x group", "1 | f")["n"] == 10
    page = page_of(tmp_path / "e")
    ages = [row for row in page.rows if row and row[0] == "age"]
    assert ages
    assert all(20 <= int(row[1]) < 70 for row in ages)  # as they were before standardizing
    assert any(row and row[0] == "job = clerk" and row[1] in ("yes", "no") for row in page.rows)


def test_texts(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = call(capsys, "explain", texts, "--out", tmp_path / "e", *QUICK)
    assert ended.code == 0, ended.err
    document = json.loads((tmp_path / "e" / "explain.json").read_text())
    assert document["maps"].startswith("Integrated gradients of the token embeddings")
    page = page_of(tmp_path / "e")
    words = [a for tag, a in page.tags if tag == "span" and a.get("title")]
    assert len(words) > 3 * 3
    assert all(
        float((a["title"] or "").replace("−", "-")) == pytest.approx(0, abs=99) for a in words
    )
    assert "[CLS]" in page.text
    assert document["shown"]
    assert "wonderful" in page.text or "awful" in page.text


def test_what_tokens_and_features_are_called(texts: Path, table: Path) -> None:
    def task(run: Path) -> fairsparse.Task:
        data = fairsparse.load(run).record["config"]["data"]
        return fairsparse.DATASETS[data.pop("name")](**data)

    words = task(texts)
    transform: Any = words.test.transform
    ids = words.test.raw(torch.tensor([0]))[0]
    text = transform.decode(ids)
    assert set(text.split()) <= {"day", "film", "very", "so", "awful", "wonderful"}
    assert "".join(transform.pieces(ids)).split() == ["[CLS]", *text.split(), "[SEP]"]
    assert len(transform.special) == 2
    people = task(table)
    features: Any = people.test.transform
    assert features.names[:2] == ("age", "job = (missing)")
    assert len(features.names) == people.input_shape[0]
    raw = people.test.raw(torch.arange(20))
    assert torch.equal(people.test.prepare(raw), raw)


def refused(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    ended = call(capsys, "explain", *args)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    return ended.err


def test_bad_runs_are_one_line(
    images: Path, table: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = images / "magnitude-0.85-seed0"
    out = ("--out", tmp_path / "e")
    assert "not a complete run (no record.json)" in refused(capsys, tmp_path, *out)
    assert "is a run on other data than" in refused(capsys, run, "--with", table, *out)
    wide = {**TINY, "model": {"name": "small-cnn", "width": 6}, "sparsities": [0.85]}
    made(wide, home / "wide")
    assert "different architectures" in refused(capsys, run, "--with", home / "wide", *out)
    flat = made(TINY, home / "mlp")
    assert "a run of the network mlp" in refused(capsys, run, "--with", flat, *out)
    dense = made({**TINY, "methods": ["dense"]}, home / "dense")
    assert "nothing was pruned in this run" in refused(capsys, dense, *out)
    assert "'--sample'" in refused(capsys, run, "--sample", "0", *out)
    assert not (tmp_path / "e").exists()


def test_a_run_from_python_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = fairsparse.DATASETS["digits"](limit=200)
    model = build("mlp", task.input_shape, 10, hidden=(8,))
    training = {"epochs": 1, "batch_size": 32}
    fairsparse.prune(model, task, "magnitude", 0.5, training=training, resamples=100).save(
        tmp_path / "run"
    )
    assert "fairsparse.heatmaps and fairsparse.agreement" in refused(capsys, tmp_path / "run")


def test_changed_data_are_one_line(
    home: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "people.csv"
    text = path.read_text()
    path.write_text(text.replace(",clerk,", ",cook,", 30))
    try:
        assert "the data have changed" in refused(capsys, table, "--out", tmp_path / "e")
    finally:
        path.write_text(text)


def test_a_missing_package_is_one_line(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    error = refused(capsys, images / "lth-0.85-seed0")
    assert 'pip install "fairsparse[explain]"' in error


def test_heat_is_seen_in_the_pictures() -> None:
    image, heat = np.full((8, 8, 3), 128, np.uint8), np.zeros((8, 8))
    heat[6:, 6:] = 3.0
    pixels = []
    for map_ in (None, heat, np.zeros((8, 8))):
        data = data_uri(image, map_).removeprefix("data:image/png;base64,")
        found = Image.open(io.BytesIO(base64.b64decode(data)))
        assert max(found.size) == 128
        pixels.append(np.asarray(found, float))
    plain, warm, cold = pixels
    assert np.ptp(plain) == 0
    assert warm[-4, -4].sum() > warm[4, 4].sum() + 100  # the map's strongest colour is the lightest
    np.testing.assert_array_equal(warm[4, 4], cold[4, 4])
