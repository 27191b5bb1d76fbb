"""Runs and audits give what they gave: stage keys, records, masks, weights, predictions.

Compared with golden files, which `regenerate.py` writes and says when. How closely is in the name
of each test: ``bits`` on the machine that wrote the file, ``structure`` on others.
"""

from __future__ import annotations

import copy
from typing import Any

import cases
import numpy as np
import pytest
from golden_files import differences, machine, read

FILES = {name: read(name) for name in cases.files()}
MACHINE = machine()
PARTS = [
    pytest.param(file, part, id=f"{file}-{part}-{'bits' if bits else 'structure'}")
    # a study's two files one after another, so that one process runs it
    for file in sorted(FILES)
    for bits in [FILES[file]["machine"] == MACHINE]
    for part in ([cases.AUDIT] if file == cases.AUDIT else FILES[file]["content"])
]


@pytest.mark.parametrize(("file", "part"), PARTS)
def test_nothing_changed(file: str, part: str) -> None:
    was, now = FILES[file]["content"], cases.present(file)
    if file != cases.AUDIT:
        was, now = {part: was[part]}, {part: now[part]}
    bits = FILES[file]["machine"] == MACHINE
    lines = differences(was, now, bits, FILES[file]["allowed"])
    assert not lines, f"{len(lines)} differences from {file}.json:\n" + "\n".join(lines[:20])


RUN = {
    "stages": {"00ff": "stored"},
    "lth": {
        "record": {
            "cells": "class",
            "sparsity": {"kept": 40, "total": 100, "measured": 0.6},
            "model": {"layers": [{"name": "a", "total": 60, "kept": 20}]},
            "rounds": [{"sparsity": 0.6, "val_drop": 0.25, "feasible": True, "gap": None}],
            "history": [{"stage": "dense", "step": 5, "loss": 0.5, "worst_cell": "a"}],
        },
        "audit": {"cells": [{"name": "a", "n": 9, "lost": 2, "p": 0.5, "q": None, "how": "BCa"}]},
    },
}
DOCUMENT = {"cells": [{"cell": "a", "n": 9, "p": 0.5, "q": None}]}
GONE = object()


def changed(value: Any, path: str, new: Any) -> Any:
    """A copy with another leaf at `path`; GONE removes it."""
    value = copy.deepcopy(value)
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    here = value
    for part in way:
        here = here[part]
    if new is GONE:
        del here[last]
    else:
        here[last] = new
    return value


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("lth/record/rounds/0/val_drop", 0.25 + 2**-54),
        ("lth/record/model/layers/0/kept", 21),
        ("lth/record/history/0/worst_cell", "b"),
        ("lth/audit/cells/0/how", "percentile"),
        ("lth/audit/cells/0/lost", 3),
        ("lth/audit/cells/0/p", -0.5),
    ],
)
def test_what_training_reaches_counts_on_the_machine_of_the_file_alone(path: str, new: Any) -> None:
    other = changed(RUN, path, new)
    assert [line.partition(":")[0] for line in differences(RUN, other, bits=True)] == [path]
    assert differences(RUN, other, bits=False) == []


@pytest.mark.parametrize("bits", [True, False])
@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("lth/record/cells", "group"),
        ("lth/record/sparsity/kept", 41),
        ("lth/record/sparsity/total", GONE),
        ("lth/record/model/layers/0/total", 61),
        ("lth/record/rounds/0/sparsity", 0.5),
        ("lth/record/rounds/0/feasible", False),
        ("lth/record/rounds/0/gap", 0.1),
        ("lth/record/rounds/0/val_drop", None),
        ("lth/record/rounds/0/val_drop", 0),
        ("lth/record/rounds/0/val_drop", GONE),
        ("lth/record/rounds/0/extra", 1.0),
        ("lth/record/history/0/stage", "lth"),
        ("lth/record/history/0/loss", float("nan")),
        ("lth/audit/cells/0", GONE),
        ("lth/audit/cells/0/name", "b"),
        ("lth/audit/cells/0/n", 8),
        ("lth/audit/cells/0/q", 0.5),
    ],
)
def test_all_else_counts_everywhere(path: str, new: Any, bits: bool) -> None:
    assert differences(RUN, changed(RUN, path, new), bits)


def test_stage_keys_count_where_initial_weights_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = changed(RUN, "stages/0100", "stored")
    for capability, n in (("AVX512", 1), ("DEFAULT", 0)):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda c=capability: c)
        assert len(differences(RUN, other, bits=False)) == n


def test_zero_and_one_have_their_sign_and_type_on_the_machine_of_the_file() -> None:
    assert differences({"a": 0.0}, {"a": -0.0}, bits=True)
    assert differences({"a": 1}, {"a": 1.0}, bits=True)
    assert not differences({"a": 0.0}, {"a": 0.0}, bits=True)


def test_figures_of_given_predictions_agree_to_six_digits_elsewhere() -> None:
    near, far = (changed(DOCUMENT, "cells/0/p", 0.5 + d) for d in (1e-9, 1e-5))
    assert differences(DOCUMENT, near, bits=False) == []
    assert len(differences(DOCUMENT, far, bits=False)) == 1
    assert len(differences(DOCUMENT, near, bits=True)) == 1


def test_what_may_be_new_is_named() -> None:
    more = changed(RUN, "lth/record/version", 2)
    assert differences(RUN, more, True, allowed=["lth/record/version$"]) == []
    assert differences(RUN, more, True, allowed=["lth/record/other"])
    assert differences(more, RUN, True, allowed=["lth/record/version$"])


def test_options_are_the_same_in_sub_objects() -> None:
    flat = {"name": "ballot", "norm": "rank", "points": [0.5, 1.0], "refinement": {"form": "none"}}
    nested = {
        "name": "ballot",
        "selection": {"norm": "rank", "points": [0.5, 1.0]},
        "refinement": {"form": "none"},
    }
    assert cases.options(flat) == cases.options(nested)
    nested["selection"]["norm"] = "clip"
    assert cases.options(flat) != cases.options(nested)


def test_a_changed_bit_name_or_shape_changes_a_hash() -> None:
    one = {"a": np.zeros((2, 3), np.float32), "b": np.ones(2, np.float32)}
    was = cases.hashes(one)
    assert cases.hashes({"b": one["b"], "a": one["a"].copy()}) == was
    bit = cases.hashes({**one, "a": np.copysign(one["a"], -1)})
    assert (bit["layout"], bit["content"] != was["content"]) == (was["layout"], True)
    for other in ({"c": one["a"], "b": one["b"]}, {**one, "a": one["a"].T}):
        assert cases.hashes(other)["layout"] != was["layout"]
