from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairsparse.core import InputError
from fairsparse.data.splits import Assigned, Held, allocate, assign, subsample
from fairsparse.data.task import SPLITS

shares = st.floats(0.01, 0.49)
labels = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2)), min_size=1, max_size=200)


def arrays(rows):
    y, group = np.array(rows, dtype=np.int64).T
    return y, group


@settings(max_examples=60, deadline=None)
@given(labels, shares, shares, shares, st.integers(0, 5))
def test_every_example_is_in_exactly_one_split(rows, cal, val, test, seed):
    y, group = arrays(rows)
    parts = Held(test, cal, val, seed).divide(y, group)
    assert tuple(parts) == SPLITS
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(y)))
    assert all((np.diff(part) > 0).all() for part in parts.values())


@settings(max_examples=60, deadline=None)
@given(labels, shares, shares, st.integers(0, 5))
def test_shares_hold_in_every_stratum(rows, cal, val, seed):
    y, group = arrays([*rows, (0, 0)])
    fixed = np.array(["train"] * len(rows) + ["test"])
    parts = Held(cal=cal, val=val, seed=seed).divide(y, group, Assigned(fixed))
    assert parts["test"].tolist() == [len(rows)]
    counts = {
        s: Counter(zip(y[p].tolist(), group[p].tolist(), strict=True)) for s, p in parts.items()
    }
    for stratum, n in Counter(map(tuple, rows)).items():
        got = [counts[s][stratum] for s in ("train", "cal", "val")]
        if n < 3:
            assert got == [n, 0, 0]
            continue
        assert sum(got) == n
        assert min(got) >= 1
        for have, share in zip(got[1:], (cal, val), strict=True):
            assert abs(have - share * n) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("n", "wanted", "expected"),
    [
        (100, (0.1, 0.1), [80, 10, 10]),
        (30, (0.2,), [24, 6]),
        (4, (0.49, 0.49), [1, 1, 2]),  # 2 + 2 would leave nothing to train on
        (5, (0.1, 0.1), [3, 1, 1]),
        (7, (), [7]),
        (0, (0.1,), [0, 0]),
    ],
)
def test_allocate(n, wanted, expected):
    assert allocate(n, wanted) == expected


def test_the_test_share_is_of_all_and_cal_and_val_of_what_is_left():
    y, group = np.repeat([0, 1], 100), np.full(200, -1)
    parts = Held(test=0.3, cal=0.1, val=0.2).divide(y, group)
    assert {s: np.bincount(y[p]).tolist() for s, p in parts.items()} == {
        "test": [30, 30],
        "cal": [7, 7],
        "val": [14, 14],
        "train": [49, 49],
    }


def test_cal_gives_way_to_val_where_both_leave_nothing_to_train_on():
    y, group = np.zeros(4, dtype=np.int64), np.zeros(4, dtype=np.int64)
    parts = Held(cal=0.49, val=0.49, seed=1).divide(
        np.r_[y, 0], np.r_[group, 0], Assigned(np.array(["train"] * 4 + ["test"]))
    )
    assert [len(parts[split]) for split in SPLITS] == [1, 1, 2, 1]


def test_given_splits_stay_and_only_the_absent_ones_are_drawn():
    y, group = np.zeros(40, dtype=np.int64), np.zeros(40, dtype=np.int64)
    fixed = np.array(["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    parts = Held().divide(y, group, Assigned(fixed))
    assert parts["val"].tolist() == list(range(20, 30))
    assert parts["test"].tolist() == list(range(30, 40))
    assert len(parts["cal"]) == 2
    assert set(parts["cal"]) | set(parts["train"]) == set(range(20))


def test_limit_is_taken_before_cal_and_val_and_leaves_test_alone():
    y, group = np.repeat([0, 1], [300, 100]), np.full(400, -1)
    parts = Held(test=0.25, limit=100).divide(y, group)
    assert np.bincount(y[parts["test"]]).tolist() == [75, 25]
    used = np.concatenate([parts[s] for s in ("train", "cal", "val")])
    assert np.bincount(y[used]).tolist() == [75, 25]
    assert (
        len(parts["cal"]) == len(parts["val"]) == 11
    )  # 7.5 -> 8 of the one, 2.5 -> 3 of the other


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=100), st.integers(1, 120))
def test_subsample_keeps_proportions(strata, limit):
    strata = np.array(strata)
    rows = subsample(strata, limit, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == min(limit, len(strata))
    ratio = len(rows) / len(strata)
    difference = np.bincount(strata[rows], minlength=5) - np.bincount(strata, minlength=5) * ratio
    assert np.abs(difference).max() < 1


def test_seed_decides():
    y, group = np.repeat([0, 1], 50), np.full(100, -1)

    def cal(seed):
        return Held(cal=0.2, val=0.2, limit=60, seed=seed).divide(y, group)["cal"].tolist()

    assert cal(3) == cal(3)
    assert cal(3) != cal(4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 15)), min_size=1, max_size=120))
def test_no_identity_is_in_two_splits(rows):
    y, identity = arrays(rows)
    parts = Held().divide(y, np.full(len(y), -1), Assigned(identity=identity))
    owners = [set(identity[part].tolist()) for part in parts.values()]
    assert sum(map(len, owners)) == len(set(identity.tolist()))
    assert sum(map(len, parts.values())) == len(y)


def test_singleton_identities_change_no_count():
    strata = np.repeat([0, 1, 2], [100, 40, 3])
    codes = assign(strata, (0.1, 0.2), np.random.default_rng(0), np.arange(143))
    found = [np.bincount(codes[strata == s], minlength=3).tolist() for s in range(3)]
    assert found == [[70, 10, 20], [28, 4, 8], [1, 1, 1]]


def test_identities_are_balanced_over_classes():
    rng = np.random.default_rng(0)
    identity = rng.integers(0, 150, 1500)
    y = rng.integers(0, 3, 1500)
    codes = assign(y, (0.1, 0.2), rng, identity)
    for k in range(3):
        share = np.bincount(codes[y == k], minlength=3) / (y == k).sum()
        np.testing.assert_allclose(share, [0.7, 0.1, 0.2], atol=0.02)


def test_a_given_split_that_shares_an_identity_is_refused():
    fixed, who = np.array(["train", "train", "test"]), np.array(["ann", "bob", "bob"], dtype=object)
    with pytest.raises(InputError, match=r"'bob' is in the given splits 'train' and 'test'"):
        Held().divide(np.zeros(3, int), np.zeros(3, int), Assigned(fixed, who))


def test_a_given_split_without_train_is_refused():
    with pytest.raises(InputError, match=r"\(test, val\) have no 'train'"):
        Held().divide(np.zeros(2, int), np.zeros(2, int), Assigned(np.array(["val", "test"])))
