"""Outcomes: counted by hand, the same by every way of counting, and coded once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairsparse.auditing.engine import audit
from fairsparse.core import InputError
from fairsparse.fairness.measure import outcomes as module
from fairsparse.fairness.measure.counts import Counts
from fairsparse.fairness.measure.outcomes import Confusion, Outcomes

CLASSES, GROUPS = ("no", "yes"), ("a", "b")
Y = [0, 0, 1, 1, 0, 1]
GROUP = [0, 0, 0, 1, 1, -1]
FIRST = [0, 1, 1, 1, 0, 0]
SECOND = [0, 0, 0, 1, 1, 1]
ROWS = st.lists(
    st.tuples(*[st.integers(0, 2)] * 3, st.integers(-1, 1)), min_size=1, max_size=30
).map(np.array)


def same(one: Counts, other: Counts) -> None:
    for field in ("n", "correct", "predicted"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.groups == other.groups


def test_six_people_by_hand() -> None:
    both = Outcomes.of([FIRST, SECOND], Y, GROUP, CLASSES, GROUPS)
    assert both.shape == (3, 2)  # a, b, unknown
    assert both.row.tolist() == [0, 0, 0, 1, 1, 2]
    first, second = both.counts
    assert first.n.tolist() == second.n.tolist() == [[2, 1], [1, 1], [0, 1]]
    assert first.correct.tolist() == [[1, 1], [1, 1], [0, 0]]
    assert second.predicted.tolist() == [[3, 0], [0, 2], [0, 1]]
    assert [x.tolist() for x in both.pairs] == [
        [[1, 0], [0, 1], [0, 0]],  # both right
        [[0, 1], [1, 0], [0, 0]],  # lost
        [[1, 0], [0, 0], [0, 1]],  # gained
        [[0, 0], [0, 0], [0, 0]],
    ]
    everyone = both.by([-1] * 6, ())
    assert everyone.shape == (1, 2)
    assert everyone.counts[0].n.tolist() == [[3, 3]]


@given(ROWS)
@settings(max_examples=30, deadline=None)
def test_every_way_of_counting_is_the_same(rows: np.ndarray) -> None:
    first, second, y, group = rows.T
    both = Outcomes.of([first, second], y, group, "rst", GROUPS)
    for codes, counts in zip((first, second), both.counts, strict=True):
        same(Confusion.count(codes, y, group, "rst", GROUPS).counts, counts)
    same(both.counts[0], Outcomes.of([first], y, group, "rst", GROUPS).counts[0])
    assert sum(x.sum() for x in both.pairs) == len(y)
    np.testing.assert_array_equal(both.pairs.both + both.pairs.lost, both.counts[0].correct)
    np.testing.assert_array_equal(both.pairs.n, both.counts[0].n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_TABLE", 0)  # by sorting
        sorted_ = Outcomes.of([first, second], y, group, "rst", GROUPS)
        for one, other in zip(both.distinct[0][:2], sorted_.distinct[0][:2], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(both.distinct[1], sorted_.distinct[1])
        patch.setattr(module, "_MOST_DISTINCT", 0)  # by what matters of them
        parts = sorted_.combinations
        assert len(parts) == 2
        sums = sum(part.effect @ part.times for part in parts)
        for one, other in zip(sorted_.resampled(sums[None]), both.counts, strict=True):
            same(Counts(*(x[0] for x in (one.n, one.correct, one.predicted)), one.groups), other)


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_another_attribute_is_another_coding_of_the_same(rows: np.ndarray) -> None:
    first, second, y, group = rows.T
    both = Outcomes.of([first, second], y, np.full(len(y), -1), "rst")
    assert both.pairs.n.sum() == len(y)
    by, direct = both.by(group, GROUPS), Outcomes.of([first, second], y, group, "rst", GROUPS)
    assert by.shape == direct.shape
    same(by.counts[1], direct.counts[1])


def test_an_audit_codes_each_column_once(monkeypatch: pytest.MonkeyPatch) -> None:
    coded: list[str] = []
    counted: list[int] = []
    as_codes, distinct = module.as_codes, Outcomes.distinct.func
    monkeypatch.setattr(module, "as_codes", lambda *a: (coded.append(a[0]), as_codes(*a))[1])
    monkeypatch.setattr(Outcomes.distinct, "func", lambda o: (counted.append(1), distinct(o))[1])
    rng = np.random.default_rng(0)
    y, first, second, sex, age = rng.integers(0, 2, (5, 300))
    audit(first, second, y, groups={"sex": sex, "age": age}, resamples=20)
    assert coded.count("true classes") == 1
    assert coded.count("predicted classes") == 2
    assert coded.count("groups") == 3  # nobody's, sex and age
    assert len(counted) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"predictions": [[0, 1]]},
            "predicted classes must be whole numbers, one for each of",
        ),
        ({"y": [0, 0, 1, 2, 0, 1]}, "true classes go from 0 to 2; allowed are 0 .. 1"),
        ({"group": [0, 0, 0, 1, 1, -2]}, "groups go from -2 to 1; allowed are -1 .. 1"),
        ({"group_names": ()}, "groups go from -1 to 1; allowed are -1 .. -1"),
    ],
)
def test_codes_without_a_name_are_refused(change: dict, message: str) -> None:
    arguments = {
        "predictions": [FIRST], "y": Y, "group": GROUP, "class_names": CLASSES,
        "group_names": GROUPS,
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        Outcomes.of(**{**arguments, **change})
