"""What configurations can name, as rows for people to read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from fairsparse.data import DATASETS
from fairsparse.data.builders import terms
from fairsparse.experiments.config import options_model
from fairsparse.fairness.metrics import METRICS
from fairsparse.methods import METHODS
from fairsparse.models import MODELS


@dataclass(frozen=True)
class Row:
    """One thing that can be named.

    Attributes
    ----------
    name, summary, details : str
    options : list of (name, default, description)
    """

    name: str
    summary: str
    details: str = ""
    options: list[tuple[str, str, str]] = field(default_factory=list)


def rows(what: str) -> list[Row]:
    """Return the rows of ``methods``, ``datasets``, ``models`` or ``metrics``."""
    match what:
        case "methods":
            return [
                Row(
                    name,
                    _summary(METHODS[name]),
                    METHODS[name].reference,
                    _options(options_model(METHODS[name], 0, ("sparsity",))),
                )
                for name in METHODS
            ]
        case "datasets":
            return [
                Row(
                    name,
                    _summary(DATASETS[name]),
                    terms(DATASETS[name]),
                    _options(options_model(DATASETS[name])),
                )
                for name in DATASETS
            ]
        case "models":
            known = [
                Row(name, _summary(MODELS[name]), "", _options(options_model(MODELS[name], 2)))
                for name in MODELS
            ]
            own = "a callable of your own, (input_shape, n_classes) -> nn.Module"
            return [*known, Row("module:factory", own)]
        case _:
            return [
                Row(name, METRICS[name].summary, f"{METRICS[name].better} is better")
                for name in METRICS
            ]


def _summary(thing: Callable[..., Any]) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _options(model: type[BaseModel] | None) -> list[tuple[str, str, str]]:
    result = []
    for name, info in (model.model_fields if model is not None else {}).items():
        required = info.default is PydanticUndefined
        default = "(required)" if required else repr(info.default)
        result.append((name, default, info.description or ""))
    return result
