"""What every registered data set promises of the task that it makes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from contract.registries import check_settings, promises, registries
from contract.trees import TREES, Tree, alter
from fairsparse import InputError, Task, make_config
from fairsparse.experiments.catalog import rows

DATASETS = registries()["data set"]
SPLITS = ("train", "cal", "val", "test")
Builder = Callable[..., Task]
NAMES = pytest.mark.parametrize("name", list(DATASETS))


def tree_of(name: str) -> Tree:
    return promises("data set", name, TREES, "trees.py")


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    """Makes the task of a set's tree, which is written when it is first asked for."""
    needed: dict[str, dict[str, Any]] = {}

    def make(name: str, **options: Any) -> Task:
        if name not in needed:
            needed[name] = tree_of(name).write(tmp_path / "tree")
        return DATASETS[name](**needed[name], **options)

    return make


def takes(name: str) -> dict[str, Any]:
    """The options that a set takes, with their defaults."""
    signature = inspect.signature(DATASETS[name])
    return {option: parameter.default for option, parameter in signature.parameters.items()}


def sizes(task: Task) -> dict[str, int]:
    return {split: len(getattr(task, split)) for split in SPLITS}


def who(name: str, task: Task) -> dict[str, list[Any]]:
    return {split: tree_of(name).who(getattr(task, split)) for split in SPLITS}


def test_the_trees_are_complete() -> None:
    check_settings("data set", DATASETS, TREES, "trees.py")


@NAMES
def test_a_task_is_ready_to_be_trained_on(name: str, build: Builder) -> None:
    task = build(name)
    assert task.name == name
    assert len(set(task.class_names)) == task.n_classes >= 2
    assert len(set(task.group_names)) == task.n_groups != 1
    assert bool(task.attributes) == bool(task.group_names)
    for split in SPLITS:
        x, y, group = getattr(task, split).batch(torch.tensor([1, 0]))
        assert isinstance(x, torch.Tensor)
        assert x.shape[0] == 2
        if x.is_floating_point():
            assert x.dtype == torch.float32
            assert tuple(x.shape[1:]) == task.input_shape
            assert bool(x.isfinite().all())
        else:
            assert x.dtype == torch.int64
        assert y.dtype == group.dtype == torch.int64


@NAMES
@pytest.mark.parametrize("shares", [{}, {"cal": 0.15, "val": 0.4, "test": 0.4}])
def test_splits_have_the_stated_shares(name: str, shares: dict[str, float], build: Builder) -> None:
    tree, known = tree_of(name), takes(name)
    shares = {option: share for option, share in shares.items() if option in known}
    task = build(name, **shares)
    found, official = sizes(task), tree.official
    assert sum(found.values()) == tree.n + sum(official.values())
    assert {split: found[split] for split in official} == official
    share = {"test": tree.test, **known, **shares}
    strata = {
        pair
        for split in SPLITS
        for pair in zip(
            getattr(task, split).y.tolist(), getattr(task, split).group.tolist(), strict=True
        )
    }
    slack = len(strata) + tree.slack
    left = tree.n
    if "test" not in official:
        assert abs(found["test"] - share["test"] * left) <= slack
        left -= found["test"]
    for split in {"cal", "val"} - set(official):
        assert abs(found[split] - share[split] * left) <= slack


@NAMES
def test_no_example_is_in_two_splits_and_none_is_lost(name: str, build: Builder) -> None:
    parts = who(name, build(name))
    everyone = [one for part in parts.values() for one in part]
    assert len(set(everyone)) == len(everyone)
    other = who(name, build(name, seed=5))
    assert {one for part in other.values() for one in part} == set(everyone)


@NAMES
def test_a_seed_divides_the_same_way_and_another_one_another(name: str, build: Builder) -> None:
    task, again, other = (build(name, seed=seed) for seed in (3, 3, 4))
    assert task.fingerprint == again.fingerprint
    assert who(name, task) == who(name, again)
    assert task.fingerprint != other.fingerprint
    one, two = who(name, task), who(name, other)
    assert set(one["train"]) != set(two["train"])
    for split in tree_of(name).official:
        assert one[split] == two[split]
    assert (task.class_names, task.group_names) == (other.class_names, other.group_names)


@NAMES
def test_a_limit_takes_training_examples_alone(name: str, build: Builder) -> None:
    tree, whole = tree_of(name), build(name)
    divided = [split for split in ("train", "cal", "val") if split not in tree.official]
    limit = int(0.8 * sum(sizes(whole)[split] for split in divided))
    some = build(name, limit=limit)
    assert sum(sizes(some)[split] for split in divided) == limit
    before, after = who(name, whole), who(name, some)
    for split in {"test", *tree.official}:
        assert after[split] == before[split]
    used = {one for split in divided for one in before[split]}
    assert {one for split in divided for one in after[split]} < used
    # a limit above what there is changes nothing
    assert build(name, limit=10**6).fingerprint == whole.fingerprint


@pytest.mark.parametrize("name", [name for name in DATASETS if "path" in takes(name)])
def test_the_fingerprint_follows_the_data(name: str, build: Builder, tmp_path: Path) -> None:
    before = build(name).fingerprint
    path = tmp_path / "tree" / tree_of(name).one
    was = path.read_bytes()
    alter(path)
    assert build(name).fingerprint != before
    path.write_bytes(was)
    assert build(name).fingerprint == before


@NAMES
def test_it_documents_its_options_and_its_terms(name: str, build: Builder) -> None:
    (row,) = (row for row in rows("datasets") if row.name == name)
    assert row.summary.endswith(".")
    assert [option for option, *_ in row.options] == list(takes(name))
    assert [option for option, _, text in row.options if not text] == []
    doc = inspect.getdoc(DATASETS[name]) or ""
    lines = re.findall(r"^([a-z_]+(?:, [a-z_]+)*) : ", doc, re.MULTILINE)
    assert {option for line in lines for option in line.split(", ")} <= set(takes(name))
    (said,) = (part for part in doc.split("\n\n") if part.startswith("Terms: "))
    told = " ".join(said.removeprefix("Terms: ").split())
    assert row.details == f"Terms: {told}"
    assert build(name).notes.startswith(told)


@NAMES
def test_options_out_of_range_are_refused_in_one_line(name: str) -> None:
    known = takes(name)
    assert {"cal", "seed", "limit"} <= set(known)
    needed = {k: "x" for k, default in known.items() if default is inspect.Parameter.empty}
    bad = {"cal": (0, 0.5, -0.1, 1, "half"), "seed": (-1, 0.5), "limit": (0, -3), "typo": (1,)}
    for option, values in ({"val": bad["cal"], "test": bad["cal"]} | bad).items():
        if option in known or option == "typo":
            for value in values:
                data = {"name": name, **needed, option: value}
                with pytest.raises(InputError, match=rf"^data\.{option}: ") as caught:
                    make_config({"data": data, "model": "mlp"})
                assert "\n" not in str(caught.value)
