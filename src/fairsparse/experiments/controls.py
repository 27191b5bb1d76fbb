"""Corrections after training that any network can have, reported beside what a method reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from fairsparse.auditing.compare import compare
from fairsparse.auditing.examples import Settings
from fairsparse.core import Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.corrections import fit_thresholds
from fairsparse.methods import Dense
from fairsparse.training import derive
from fairsparse.training.refinement import Refinement
from fairsparse.training.refinement.offsets import choose_offsets

Control = Literal["offsets", "thresholds"]
Controls = Annotated[
    tuple[Control, ...],
    Field(description="corrections after training to report too: class offsets, group thresholds"),
]
Splits = Mapping[str, Predictions]
"""Predictions of one network on cal, val and test."""

ABOUT = {
    "offsets": "class offsets, which fold into the last bias",
    "thresholds": "a threshold for each group, which needs the group of each example at inference",
}


def measure_controls(
    controls: Sequence[Control],
    networks: Mapping[str, Splits],
    dense: Dense,
    cells: Cells,
    *,
    seed: int,
    resamples: int,
    least: int = Settings.least,
) -> dict[str, Any]:
    """What each control makes of each network, on the test split: JSON-able.

    Controls are fitted on cal; the strength of offsets is chosen on val, within the default
    tolerance of a `Refinement`. Each network is compared with itself before the correction.
    """
    effects: dict[str, Any] = {}
    for control in controls:
        entry: dict[str, Any] = {
            "about": ABOUT[control],
            "needs_group_at_inference": control == "thresholds",
        }
        for name, splits in networks.items():
            test = splits["test"]
            if control == "offsets":
                corrected, facts = _offsets(splits, cells, dense)
            else:
                classify = fit_thresholds(splits["cal"], cells, derive(seed, "thresholds"))
                corrected, facts = classify(test), {"constraint": cells.definition.constraint}
            truth = (test.y, test.group, cells.class_names, cells.group_names)
            before = test.logits.argmax(1)
            change = compare(before, corrected, *truth, resamples=resamples, seed=seed, least=least)
            entry[name] = {**facts, "churn": change.churn, "metrics": change.metrics}
        effects[control] = entry
    return effects


def _offsets(splits: Splits, cells: Cells, dense: Dense) -> tuple[Tensor, dict[str, Any]]:
    """Classes under the best offsets, and the offsets."""
    logits, tolerance, reach = splits["test"].logits, Refinement().tolerance, dense.val.accuracy
    strength, offsets = choose_offsets(splits["cal"], splits["val"], cells, dense, reach, tolerance)
    offsets = logits.new_zeros(logits.shape[1]) if offsets is None else offsets
    return (logits + offsets).argmax(1), {"strength": strength, "values": offsets.tolist()}
