"""What Ballot measures: the search for a stable start, the line between networks, cell batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fairsparse.core import InputError
from fairsparse.methods.ballot import evidence
from fairsparse.methods.ballot import method as ballot
from fairsparse.methods.ballot.method import Ballot
from helpers import bench, equal

QUICK: dict[str, Any] = {"tolerance": 1.0, "retries": 0}


def test_the_search_takes_the_first_stable_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Ballot(sparsity=0.6, levels=(0.3,), rewind_at="search", **QUICK)
    case = bench(method, epochs=8)
    # 48 steps: the candidates are 0 (0 to 1 %), 1 (2 %), 2 (5 %) and 5 (10 %)
    asked: list[int] = []
    errors = {1: [0.3, 0.5, 0.3], 2: [0.3, 0.31, 0.3]}

    def line(run: Any, a: Any, b: Any) -> list[float]:
        assert not equal(a, b)
        asked.append(int(run.trainer.history[-1]["stage"].split()[-1]))
        return errors.get(asked[-1], [0.3, 0.4, 0.3])

    monkeypatch.setattr(evidence, "line_errors", line)
    starts: list[int] = []
    plain = ballot.refine
    monkeypatch.setattr(
        ballot, "refine", lambda loop, *a, **kw: starts.append(loop.start) or plain(loop, *a, **kw)
    )
    case.run(method)
    assert asked == [0, 1, 2]
    assert starts == [2, 2]


def test_a_search_for_weights_needs_weights_to_go_back_to() -> None:
    method = Ballot(rewind_at="search", rewind="lr", **QUICK)
    with pytest.raises(InputError, match=r"looks for weights to go back to, but rewind is"):
        bench(method)


def test_a_finished_search_is_not_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    method = Ballot(sparsity=0.6, levels=(0.3,), rewind_at="search", **QUICK)
    first = bench(method, epochs=8, folder=tmp_path)
    expected = first.run(method)
    monkeypatch.delattr(ballot, "stable_rewind")
    second = bench(method, epochs=8, folder=tmp_path)
    assert second.run(method) == expected
    assert second.trainer.history == first.trainer.history


def test_line_errors_at_the_ends_are_those_of_the_networks() -> None:
    method = Ballot(rewind_at=0.25)
    case = bench(method)
    a, b = case.dense.states[0], case.dense.final
    errors = evidence.line_errors(case, a, b, points=3)
    expected = []
    for state in (a, b):
        case.model.load_state_dict(state)
        logits, y, _ = case.trainer.predict(case.model, case.data.val)
        expected.append(float((logits.argmax(1) != y).float().mean()))
    assert [errors[0], errors[-1]] == pytest.approx(expected)
    assert len(errors) == 3
    assert expected[0] > expected[1]


def test_batch_statistics_are_measured_anew_along_the_line() -> None:
    case = bench(Ballot(rewind_at=0.25), "conv")
    state = case.dense.final
    astray = {n: t + 50 if "running" in n else t for n, t in state.items()}
    assert evidence.line_errors(case, astray, astray, points=2) == evidence.line_errors(
        case, state, state, points=2
    )


@pytest.mark.parametrize("favour_weak", [False, True])
def test_cell_batches_hold_one_cell_each_and_favour_the_weak_ones(favour_weak: bool) -> None:
    case = bench(Ballot(rewind_at=0.25), groups=3, notion="class-group")
    cells, cal = case.trainer.cells, case.data.cal
    found = torch.zeros(len(cells))
    for batch, weight in evidence.cell_batches(case, favour_weak):
        (cell,) = cells.index(batch.y, batch.group).unique()
        assert cell >= 0
        assert len(batch.y) == 16
        found[cell] += weight
    logits, y, group = case.trainer.predict(case.model, cal)
    means = cells.means(cells.soft(logits, y), cells.index(y, group))
    assert float(found.sum()) == pytest.approx(1)
    if favour_weak:
        # one tenth less accuracy is worth a factor of e
        ratio = (found / found[0]).log()
        assert torch.allclose(ratio, -(means - means[0]) / 0.1, atol=1e-4)
        assert means.std() > 0.01
    else:
        assert torch.allclose(found, torch.full_like(found, 1 / len(cells)))
