from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from fairsparse.data import DATASETS
from fairsparse.data.task import SPLITS

digits = DATASETS["digits"]


def counts(task, split):
    return torch.bincount(getattr(task, split).y, minlength=10)


def test_as_published_every_image_is_used_once_with_its_label():
    task, source = digits(), load_digits()
    found = sorted(
        (int(y), *map(int, x.flatten()))
        for s in SPLITS
        for x, y in zip(getattr(task, s).x, getattr(task, s).y, strict=True)
    )
    assert found == sorted(
        (int(y), *map(int, x)) for x, y in zip(source.data, source.target, strict=True)
    )
    assert task.train.x.dtype == torch.uint8
    assert task.input_shape == (1, 8, 8)
    assert task.group_names == ()
    assert "CC BY 4.0" in task.notes


def test_sizes_as_published():
    task = digits()
    assert ((counts(task, "test") - 60).abs() <= 2).all()
    for split in ("cal", "val"):
        assert ((counts(task, split) - 18).abs() <= 1).all()


@pytest.mark.parametrize("longtail", [0.05, 0.5, 1.0])
def test_longtail(longtail):
    task = digits(longtail=longtail)
    for split in ("cal", "val", "test"):
        assert len(set(counts(task, split).tolist())) == 1
    train = counts(task, "train").double()
    expected = train[0] * longtail ** (torch.arange(10) / 9)
    assert ((train - expected).abs() <= 0.5 + 1e-9).all()
    assert train[0] == 174 - 58 - 17 - 17  # the smallest class has 174 examples


def test_longtail_shrinks_train_alone():
    some, all_ = digits(longtail=0.05), digits(longtail=1.0)
    for split in ("cal", "val", "test"):
        assert torch.equal(getattr(some, split).x, getattr(all_, split).x)
    assert len(some.train) < len(all_.train)


def test_all_splits_are_standardized_with_the_train_split():
    task = digits(limit=500)
    assert task.cal.transform is task.val.transform is task.test.transform is task.train.transform
    x = task.train.prepare(task.train.x)
    torch.testing.assert_close(x.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(correction=0), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_limit_counts_train_cal_and_val_together_and_keeps_test():
    task = digits(limit=200)
    assert len(task.train) + len(task.cal) + len(task.val) == 200
    np.testing.assert_array_equal(counts(task, "test"), counts(digits(), "test"))


@pytest.mark.parametrize("longtail", [None, 0.1])
def test_seed_decides_the_fingerprint(longtail):
    first = digits(longtail, seed=1).fingerprint
    assert first == digits(longtail, seed=1).fingerprint
    assert first != digits(longtail, seed=2).fingerprint


def test_seed_decides_which_images_make_the_classes_even():
    def used(seed):
        task = digits(longtail=1.0, seed=seed)
        images = torch.cat([getattr(task, s).x for s in SPLITS]).flatten(1)
        return sorted(map(tuple, images.tolist()))

    assert len(used(1)) == 10 * 174
    assert used(1) != used(2)
