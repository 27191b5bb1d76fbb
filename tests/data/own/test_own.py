"""Tasks of one's own examples: tensors, arrays, and map-style data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from fairsparse import InputError, Task, task

N = 120


def examples(n: int = N, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Four numbers, three classes, two groups; every seventh group is unknown."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    i = torch.arange(n)
    return x, i % 3, torch.where(i % 7 == 6, -1, i // 3 % 2)


class Rows(Dataset[Any]):
    """Items of two or three, counted as they are read."""

    def __init__(self, *columns: Any) -> None:
        self.columns, self.reads = columns, 0

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, i: int) -> Any:
        self.reads += 1
        return tuple(column[i] for column in self.columns)


def counts(made: Task) -> dict[str, list[int]]:
    splits = {name: getattr(made, name) for name in ("train", "cal", "val", "test")}
    return {name: torch.bincount(s.y, minlength=3).tolist() for name, s in splits.items()}


def test_shares_are_taken_from_train_by_class_and_group() -> None:
    x, y, _ = examples()
    made = task((x, y), examples(60, 1)[:2], cal_share=0.1, val_share=0.2)
    assert counts(made) == {
        "train": [28, 28, 28],
        "cal": [4, 4, 4],
        "val": [8, 8, 8],
        "test": [20, 20, 20],
    }
    rows = torch.cat([made.train.x, made.cal.x, made.val.x])  # type: ignore[list-item]
    assert torch.equal(rows.sort(0).values, x.sort(0).values)
    assert made.class_names == ("class 0", "class 1", "class 2")
    assert made.group_names == ()
    assert bool((made.train.group == -1).all())


def test_given_splits_stay_as_they_are() -> None:
    parts = [examples(n, n) for n in (60, 30, 31, 32)]
    made = task(
        parts[0],
        parts[1],
        cal=parts[2],
        val=parts[3],
        class_names=["a", "b", "c"],
        group_names=("f", "m"),
        name="mine",
    )
    for name, part in zip(("train", "test", "cal", "val"), parts, strict=True):
        split = getattr(made, name)
        for got, given in zip((split.x, split.y, split.group), part, strict=True):
            assert torch.equal(got, given)
    assert (made.name, made.class_names, made.group_names) == ("mine", ("a", "b", "c"), ("f", "m"))


def test_arrays_tensors_and_data_sets_are_one_task() -> None:
    x, y, g = examples()
    test = examples(60, 1)
    tensors = task((x, y, g), test)
    arrays = task(
        (x.double().numpy(), y.numpy().astype(np.uint8), g.tolist()),
        tuple(t.numpy() for t in test),
    )
    rows = task(Rows(x.numpy(), y.tolist(), g), TensorDataset(*test))
    assert tensors.fingerprint == arrays.fingerprint
    index = torch.tensor([5, 0, 2])
    for name in ("train", "cal", "val", "test"):
        for other in (arrays, rows):
            for a, b in zip(
                getattr(tensors, name).batch(index), getattr(other, name).batch(index), strict=True
            ):
                assert torch.equal(a, b)
                assert a.dtype == b.dtype
    assert tensors.fingerprint != task((x, y, g), test, seed=1).fingerprint


def test_a_data_set_is_read_once_and_then_when_needed() -> None:
    data = Rows(*examples()[:2])
    made = task(data, examples(60, 1)[:2])
    assert data.reads <= N + 3 * 64  # once, and what the fingerprint samples of three splits
    data.reads = 0
    made.train.raw(torch.tensor([3, 1]))
    assert data.reads == 2


def test_standardize_uses_the_training_split_alone() -> None:
    x, y, _ = examples()
    made = task((x, y), examples(60, 1)[:2], standardize=True)
    raw = made.train.x
    assert isinstance(raw, Tensor)
    expected = (made.test.x - raw.mean(0)) / raw.std(0)  # type: ignore[operator]
    torch.testing.assert_close(made.test.batch(torch.arange(60)).x, expected)
    images = torch.randint(0, 256, (N, 2, 3, 3), dtype=torch.uint8)
    pictures = task((images, y), (images[:60], y[:60]), standardize=True)
    prepared = pictures.train.batch(torch.arange(len(pictures.train))).x
    torch.testing.assert_close(prepared.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="standardize needs tensors"):
        task(Rows(x, y), (x, y), standardize=True)


X, Y, G = examples()
NAN = torch.where(torch.arange(N)[:, None] == 7, torch.nan, X)
RAGGED = [*X[:9], torch.zeros(5), *X[10:]]
BAD: dict[str, tuple[Any, str]] = {
    "one array": ((X,), "train: got 1 arrays; give .x, y."),
    "lengths": ((X, Y[:-1]), "train: got 120 inputs, 119 labels and 119 groups"),
    "group lengths": ((X, Y, G[:5]), "120 inputs, 120 labels and 5 groups"),
    "a single number": ((X, torch.tensor(3)), "0 labels"),
    "words": ((X, ["yes"] * N), "labels? as codes"),
    "ragged": (([[1.0], [1.0, 2.0]], [0, 1]), "no array of numbers"),
    "float labels": ((X, Y.float()), "labels and groups are whole numbers.*float32"),
    "one-hot": ((X, torch.eye(3, dtype=torch.int64)[Y]), r"whole numbers of shape \(N,\)"),
    "empty": ((X[:0], Y[:0]), "train: has no examples"),
    "negative": ((X, Y - 1), "labels from -1 to 1; allowed are 0"),
    "group code": ((X, Y, G - 1), "groups from -2"),
    "nan": ((NAN, Y), "NaN or infinite inputs"),
    "one class": ((X, Y * 0), "classes without examples in the train split: class 1"),
    "no data set": (7, "train: got a int; give tensors, or a map-style Dataset"),
    "generator": ((i for i in range(3)), "map-style Dataset"),
    "items": (Rows(X), r"item 0 is not \(x, y\)"),
    "item label": (Rows(X, ["yes"] * N), r"item 0 has the label and group \['yes'\]"),
    "item one-hot": (Rows(X, torch.eye(3)[Y]), "item 0 has the label"),
    "item input": (Rows(["a.png"] * N, Y), "item 0 has a str as input"),
    "item shape": (Rows(RAGGED, Y), r"item 9 has shape \(5,\), the ones before \(4,\)"),
    "item nan": (Rows(NAN, Y), "item 7 has NaN"),
    "item float64": (Rows(X.double(), Y), "item 0 is float64; .*float32"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    given, message = BAD[case]
    with pytest.raises(InputError, match=message):
        task(given, (X, Y, G) if case.startswith("group") else (X, Y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cal_share": 0.0}, "cal_share is 0.0; allowed are shares in"),
        ({"val_share": 0.5}, "val_share is 0.5"),
        ({"class_names": ["a", "b"]}, "labels from 0 to 2; allowed are 0 .. 1"),
        ({"class_names": list("abcd")}, "classes without examples in the train split: d"),
        ({"group_names": ["f", "m"]}, "groups without examples in the train split: f, m"),
        ({"val": (torch.zeros(3, 5), torch.arange(3))}, "different shapes"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        task((X, Y), (X, Y), **options)


def test_a_task_of_one_class() -> None:
    with pytest.raises(InputError, match="the target has 1 class"):
        task((X, Y * 0), (X, Y * 0))


def test_objects_of_pandas_in_another_order_are_refused() -> None:
    x, y, group = (pd.DataFrame(v.numpy()) for v in examples())
    parts = x, y[0], group[0]
    assert counts(task(parts, examples(60, 1)))["test"] == [20, 20, 20]
    for i in range(3):
        other = [v[::-1] if i == k else v for k, v in enumerate(parts)]
        with pytest.raises(InputError, match="inputs, labels and groups have different indices"):
            task(other, examples(60, 1))
