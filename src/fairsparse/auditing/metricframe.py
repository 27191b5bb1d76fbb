"""An audit's predictions as fairlearn's MetricFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fairsparse.auditing.cells import LABEL
from fairsparse.auditing.examples import Examples
from fairsparse.core import InputError
from fairsparse.fairness.measure.counts import Array
from fairsparse.registry import listing, nearest


def metric_frame(
    examples: Examples, predicted: Mapping[str, Array], model: str, attributes: Sequence[str] | None
) -> Any:
    """A MetricFrame of codes (N,) that a model predicts; `Audit.to_metricframe` says of what."""
    try:
        from fairlearn import metrics
    except ImportError:
        raise InputError(
            "a MetricFrame is fairlearn's; pip install 'fairsparse[posthoc]'"
        ) from None
    from sklearn.metrics import accuracy_score

    said = predicted[_one_of(model, list(predicted), "model")]
    chosen = [
        _one_of(attribute, list(examples.attributes), "attribute")
        for attribute in (examples.attributes if attributes is None else attributes)
    ]
    if not chosen:
        raise InputError("a MetricFrame needs groups; give the audit some")
    functions: dict[str, Any] = {"count": metrics.count, "accuracy": accuracy_score}
    if len(examples.class_names) == 2:
        functions |= {
            rate: partial(getattr(metrics, rate), pos_label=examples.class_names[1])
            for rate in ("selection_rate", "true_positive_rate", "false_positive_rate")
        }
    classes = np.array(examples.class_names, object)
    groups = {a: np.array([*examples.attributes[a][1], LABEL], object) for a in chosen}
    # a count is of examples; rates are of what they stand for, as those of the audit are
    weighted = {} if examples.sample is None else {"sample_weight": examples.sample.weight}
    return metrics.MetricFrame(
        metrics=functions,
        sample_params={name: weighted for name in functions if name != "count"},
        y_true=classes[examples.y],
        y_pred=classes[said],
        sensitive_features=pd.DataFrame(
            {a: names[examples.attributes[a][0]] for a, names in groups.items()}
        ),
    )


def _one_of(name: str, names: Sequence[str], what: str) -> str:
    if name not in names:
        raise InputError(
            f"there is no {what} '{name}'{nearest(name, names)}; there are: {listing(names)}"
        )
    return name
