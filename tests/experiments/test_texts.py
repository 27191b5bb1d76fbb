"""Texts through every method and criterion, from a table to a report."""

from __future__ import annotations

import random
from typing import Any

import pytest

import fairsparse
from fairsparse import DATASETS, METHODS, InputError, Task
from fairsparse.masks.criteria.registry import CRITERIA
from fairsparse.models import build

SMALL: dict[str, Any] = {
    "vocab_size": 100,
    "hidden": 16,
    "heads": 2,
    "intermediate": 24,
    "layers": 1,
}
TRAINING = {"epochs": 2, "batch_size": 32, "lr": 1e-2, "optimizer": "adamw"}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Three groups, one of them unknown to a third of its people."""
    rng = random.Random(0)
    words = ["good", "bad", "nice", "awful", "day", "night", "film", "plot", "very", "so"]
    rows = ["text,label,place"]
    for i in range(600):
        happy = rng.randrange(2)
        chosen = [
            *rng.choices(words[4:], k=rng.randrange(2, 7)),
            words[2 * rng.randrange(2) + 1 - happy],
        ]
        rng.shuffle(chosen)
        rows.append(f"{' '.join(chosen)},{happy},{'' if i % 9 == 0 else 'abc'[i % 3]}")
    path = tmp_path_factory.mktemp("texts") / "t.csv"
    path.write_text("\n".join(rows) + "\n")
    return DATASETS["text"](path, groups=("place",), vocab_size=100)


def prune(task: Task, method: str, **options: Any) -> fairsparse.Result:
    return fairsparse.prune(
        build("bert", task.input_shape, 2, **SMALL),
        task,
        method,
        options.pop("sparsity", 0.5),
        cells="group",
        training=TRAINING,
        resamples=100,
        **options,
    )


@pytest.mark.parametrize("method", [name for name in METHODS if name != "dense"])
def test_every_method_prunes_bert(task: Task, method: str) -> None:
    result = prune(task, method)
    assert result.masks.is_applied(result.model)
    assert result.masks.sparsity == pytest.approx(0.5, abs=1e-3)
    assert all("encoder" in name or "pooler" in name for name in result.masks)


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_every_criterion_ranks_bert_or_says_why_not(task: Task, criterion: str) -> None:
    options: dict[str, Any] = {"criterion": criterion}
    if CRITERIA[criterion].of_filters:
        options |= {"grouping": "filter", "scope": "layerwise"}
    if criterion in ("synflow", "hrank", "entropy"):
        with pytest.raises(InputError, match="token ids|cannot be traced") as caught:  # noqa: RUF043
            prune(task, "magnitude", **options)
        assert "\n" not in str(caught.value)
        return
    result = prune(task, "magnitude", **options)
    assert result.masks.sparsity == pytest.approx(0.5, abs=1e-3)


def test_a_vocabulary_that_does_not_fit_is_refused(task: Task) -> None:
    model = build("bert", task.input_shape, 2, **{**SMALL, "vocab_size": 20})
    with pytest.raises(
        InputError, match=r"vocabulary has \d+ tokens, and the network's embedding 20"
    ):
        fairsparse.prune(model, task, "magnitude")
