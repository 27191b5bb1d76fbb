"""What an explanation of a run is made of: networks, chosen examples, the sample."""

from __future__ import annotations

import numpy as np
import torch

from fairsparse.experiments.explain import choose, flipped, random_masks
from fairsparse.fairness.cells import Cells
from fairsparse.masks.maskset import MaskSet


def test_a_random_mask_keeps_as_many_wherever_they_are() -> None:
    bits = torch.zeros(5000, dtype=torch.bool)
    bits[:500] = True
    masks = MaskSet({"one": bits[:2000].view(40, 50), "two": bits[2000:]})
    found = random_masks(masks, 0)
    assert (found.n_kept, found.n_total) == (500, 5000)
    assert {name: m.shape for name, m in found.items()} == {
        name: m.shape for name, m in masks.items()
    }
    assert 140 < int(found["one"].sum()) < 260  # 200 expected, six standard deviations of 11
    assert found == random_masks(masks, 0)
    assert found != random_masks(masks, 1)
    assert found == random_masks(MaskSet({n: masks[n] for n in ("two", "one")}), 0)


def predictions() -> dict[str, np.ndarray]:
    """Eight examples; what the dense network is sure of falls from row to row."""
    y = np.array([0, 0, 0, 0, 1, 1, 0, 0])
    dense = np.zeros((8, 2), np.float32)
    dense[np.arange(8), y] = np.arange(8, 0, -1)
    dense[6] = dense[6, ::-1]  # wrong already
    sparse = np.zeros((8, 2), np.float32)
    sparse[np.arange(8), 1 - y] = 1
    sparse[7] = dense[7]  # still right
    group = np.array([0, 0, 0, 1, 1, -1, 0, 0])
    return {"test_y": y, "test_group": group, "test_dense": dense, "test_sparse": sparse}


def test_flipped_are_those_that_were_right() -> None:
    assert flipped(predictions()).tolist() == [0, 1, 2, 3, 4, 5]


def test_cells_take_turns_and_the_surest_come_first() -> None:
    cells = Cells("group", ("a", "b"), ("x", "y"))
    rows = flipped(predictions())
    orders = set()
    for seed in range(20):
        found = choose(predictions(), rows, cells, 8, np.random.default_rng(seed)).tolist()
        assert sorted(found[:2]) == [0, 3]
        assert sorted(found[2:4]) == [1, 4]
        assert found[4:] == [2, 5]  # the group of 5 is unknown
        orders.add(tuple(found[:2]))
        assert (
            choose(predictions(), rows, cells, 3, np.random.default_rng(seed)).tolist()
            == (found[:3])
        )
    assert orders == {(0, 3), (3, 0)}
    nothing = choose(predictions(), rows[:0], cells, 8, np.random.default_rng(0))
    assert nothing.tolist() == []
