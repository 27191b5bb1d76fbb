"""What configurations can name, as rows for people to read."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from fairsparse.data import DATASETS
from fairsparse.data.registry import terms
from fairsparse.experiments.options import options_model, plain
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.notions import NOTIONS
from fairsparse.methods import METHODS, Method
from fairsparse.methods.method import ATTRIBUTE, STRUCTURE
from fairsparse.models import MODELS
from fairsparse.registry import parameters


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
    """Return the rows of ``methods``, ``datasets``, ``models``, ``metrics`` or ``notions``."""
    match what:
        case "methods":
            return [
                Row(
                    name,
                    _summary(METHODS[name]),
                    _facts(METHODS[name]),
                    _options(options_model(METHODS[name], 0, ("sparsity",))),
                )
                for name in METHODS
            ]
        case "datasets":
            return [
                Row(
                    name,
                    _summary(DATASETS[name]),
                    f"Terms: {terms(DATASETS[name])}",
                    _options(options_model(DATASETS[name]), parameters(DATASETS[name])),
                )
                for name in DATASETS
            ]
        case "models":
            known = [
                Row(name, _summary(MODELS[name]), "", _options(options_model(MODELS[name], 2)))
                for name in MODELS
            ]
            own = "A callable of your own, (input_shape, n_classes, **options) -> nn.Module."
            hub = (
                "The sequence or image classifier in a local directory, or of that name on the hub."
            )
            return [*known, Row("hf:NAME_OR_DIR", hub), Row("module:factory", own)]
        case "notions":
            return [
                Row(
                    name,
                    f"{NOTIONS[name].sentence[0].upper()}{NOTIONS[name].sentence[1:]}.",
                    f"Gap: {NOTIONS[name].gap}\nNeeds: {NOTIONS[name].needs}",
                )
                for name in NOTIONS
            ]
        case _:
            return [
                Row(name, registry[name].summary, registry[name].facts)
                for registry in (METRICS, DEGRADATIONS)
                for name in registry
            ]


def _summary(thing: Callable[..., Any]) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _facts(method: type[Method]) -> str:
    facts = method.facts
    lines = [
        method.reference.strip("-"),
        f"Structure: {STRUCTURE[facts.structure]}",
        f"Attribute: {ATTRIBUTE[facts.attribute]}",
        f"Cost, in dense trainings: {facts.cost}",
    ]
    return "\n".join(line for line in lines if line)


def _options(
    model: type[BaseModel] | None,
    texts: Mapping[str, tuple[str, str]] = {},
    prefix: str = "",
) -> list[tuple[str, str, str]]:
    result = []
    for name, info in (model.model_fields if model is not None else {}).items():
        text = info.description or texts.get(name, ("", ""))[1]
        if get_origin(info.annotation) is Literal:
            text = " | ".join(map(str, get_args(info.annotation))) + (f"; {text}" if text else "")
        default = info.get_default(call_default_factory=True)
        if dataclasses.is_dataclass(default):
            result += _options(options_model(type(default)), prefix=f"{name}.")
        else:
            shown = "(required)" if info.is_required() else _yaml(plain(default))
            result.append((prefix + name, shown, text))
    return result


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
