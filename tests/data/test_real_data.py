"""The real data sets, from the directory that FAIRSPARSE_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.data import DATASETS

pytestmark = pytest.mark.realdata


def build(name, **options):
    root = os.environ.get("FAIRSPARSE_DATA")
    if root is None:
        pytest.skip("set FAIRSPARSE_DATA to the directory of the real data sets")
    try:
        return DATASETS[name](Path(root), **options)
    except InputError as error:
        if "expected" in str(error):
            pytest.skip(str(error))
        raise


def sizes(task):
    return [len(s) for s in (task.train, task.cal, task.val, task.test)]


def test_fashion_mnist():
    task = build("fashion-mnist")
    assert sizes(task) == [48000, 6000, 6000, 10000]
    assert torch.bincount(task.train.y).tolist() == [4800] * 10
    # Mean of all 60,000 training images as published: 0.2860 of the range.
    torch.testing.assert_close(task.train.transform.mean.item() / 255, 0.2860, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("labels", "classes"), [("fine", 100), ("coarse", 20)])
def test_cifar_100(labels, classes):
    task = build("cifar-100", labels=labels, limit=5000)
    assert sizes(task) == [4000, 500, 500, 10000]
    assert torch.bincount(task.test.y).tolist() == [10000 // classes] * classes
    published = torch.tensor([0.5071, 0.4865, 0.4409])
    found = task.train.transform.mean.flatten() / 255
    torch.testing.assert_close(found, published, atol=0.01, rtol=0)


def test_utkface():
    task = build("utkface", groups=("race", "gender"), limit=1500)
    assert task.n_groups == 10
    assert len(task.train) + len(task.cal) + len(task.val) == 1500
    # Groups contain the target here, so the group decides the class.
    female = torch.tensor([name.endswith("female") for name in task.group_names])
    assert torch.equal(female[task.test.group].long(), task.test.y)


def test_adult():
    task = build("adult", groups=("sex",))
    assert sum(sizes(task)) == 48842
    assert torch.bincount(task.test.y).tolist() == [12435, 3846]
    everyone = [task.train, task.cal, task.val]
    cells = sum(torch.bincount(2 * s.y + s.group, minlength=4) for s in everyone)
    assert cells.tolist() == [9592, 15128, 1179, 6662]


@pytest.mark.parametrize(
    ("name", "people", "failed"),
    [
        # class 0 of each, as the papers that describe them count
        ("compas", 6172, 3363),
        ("law-school", 20798, 2293),
        ("dutch-census", 60420, 31657),
        ("credit-default", 30000, 23364),
        ("german-credit", 1000, 300),
    ],
)
def test_tables_of_people(name, people, failed):
    task = build(name)
    assert sum(sizes(task)) == people
    splits = (task.train, task.cal, task.val, task.test)
    assert sum(int((s.y == 0).sum()) for s in splits) == failed
