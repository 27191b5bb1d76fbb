"""What a task, a result and an audit say of themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import fairsparse

HOSTILE = "<script>\n" * 40


def made() -> dict[str, Any]:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    label = torch.arange(120) % 2
    parts = [(torch.randn(120, 4) + label[:, None], label, label) for _ in range(2)]
    toy = fairsparse.task(*parts, name=HOSTILE, group_names=[HOSTILE, "b"])
    result = fairsparse.prune(net, toy, "magnitude", sparsity=0.5, training={"epochs": 1})
    y = np.arange(400) % 2
    groups = {HOSTILE: [HOSTILE + str(i % 40) for i in range(400)]}
    audit = fairsparse.audit(y, {HOSTILE: 1 - y}, y, groups=groups, resamples=5)
    return {"Task": toy, "Result": result, "Audit": audit}


def test_they_fit_five_lines_and_are_tables_in_notebooks() -> None:
    for kind, value in made().items():
        lines = repr(value).splitlines()
        assert lines[0] == kind
        assert 3 <= len(lines) <= 5
        assert max(map(len, lines)) <= 120
        shown = value._repr_html_()
        assert shown.count("<tr>") == len(lines) - 1
        assert "<script>" not in shown
    assert "lost" in repr(value)


def test_a_task_says_how_many_examples_it_has() -> None:
    digits = fairsparse.DATASETS["digits"](limit=300)
    assert f"test {len(digits.test):,}" in repr(digits)
    assert digits.fingerprint[:12] in digits._repr_html_()
