"""Which ids look like several rows of one person."""

import pandas as pd
import pytest

from fairsparse.auditing.inputs.clusters import suspicion


@pytest.mark.parametrize(
    "ids",
    [
        [f"p{i // 2:03}_{i % 2:02}.jpg" for i in range(40)],
        [f"person-{i // 4}/frame{i % 4}.png" for i in range(80)],
        [f"user{i // 3}:{i % 3}" for i in range(60)],
        [f"Aaron_Peirsol{i // 2}_{i % 2:04}" for i in range(50)],
    ],
)
def test_several_rows_of_one_person_are_suspected(ids: list[str]) -> None:
    line = suspicion(pd.Index(ids))
    assert line is not None
    assert f"in {len(ids)} rows" in line
    assert "--cluster" in line


@pytest.mark.parametrize(
    "ids",
    [
        range(100),
        [f"img_{i:05}.jpg" for i in range(100)],
        [f"{i:08x}" for i in range(100)],
        [f"{'ab'[i % 2]}_{i}" for i in range(100)],  # two units: a split, or a source
        [f"p{i}_0.jpg" for i in range(100)],
        ["p1_0", "p1_1", "p2_0"],
    ],
)
def test_ids_that_only_count_are_not(ids: list[str]) -> None:
    assert suspicion(pd.Index(ids)) is None
