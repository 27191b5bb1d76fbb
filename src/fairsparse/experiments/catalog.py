"""What configurations can name, as rows for people to read."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml

from fairsparse.data import DATASETS
from fairsparse.data.registry import terms
from fairsparse.experiments.config import RunConfig
from fairsparse.experiments.options import choice, options_model
from fairsparse.experiments.settings import Choice, plain
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.notions import NOTIONS
from fairsparse.methods import METHODS, Method
from fairsparse.models import MODELS
from fairsparse.registry import Registry, parameters

T = TypeVar("T")

STRUCTURE = {
    "none": "nothing is removed",
    "unstructured": "unstructured",
    "structured": "structured",
    "either": "unstructured, or structured by an option",
}
"""`Facts.structure` in words."""
ATTRIBUTE = {
    "never": "not needed",
    "option": "in training, where an option steers by cells or a term of groups",
    "cells": "in training, where its cells or term are of groups",
    "training": "in training",
    "inference": "in training and at inference",
}
"""`Facts.attribute` -> when the sensitive attribute has to be known, in words."""


@dataclass(frozen=True)
class Row:
    """One thing that can be named; of its options name, default and description."""

    name: str
    summary: str
    details: str = ""
    options: Sequence[tuple[str, str, str]] = ()


LISTED = ("methods", "datasets", "models", "metrics", "notions")


def rows(what: str) -> list[Row]:
    """Return the rows of ``methods``, ``datasets``, ``models``, ``metrics`` or ``notions``."""
    match what:
        case "methods":
            return [
                Row(name, _summary(m), _facts(m), _options(m, leave_out=("sparsity",)))
                for name, m in _items(METHODS)
            ]
        case "datasets":
            return [
                Row(name, _summary(d), f"Terms: {terms(d)}", _options(d))
                for name, d in _items(DATASETS)
            ]
        case "models":
            own = "A callable of your own, (input_shape, n_classes, **options) -> nn.Module."
            hub = (
                "The sequence or image classifier in a local directory, or of that name on the hub."
            )
            named = [Row(name, _summary(m), "", _options(m, skip=2)) for name, m in _items(MODELS)]
            return [*named, Row("hf:NAME_OR_DIR", hub), Row("module:factory", own)]
        case "notions":
            return [
                Row(name, f"{s[0].upper()}{s[1:]}.", f"Gap: {n.gap}\nNeeds: {n.needs}")
                for name, n in _items(NOTIONS)
                for s in [n.sentence]
            ]
        case _:
            both = (*_items(METRICS), *_items(DEGRADATIONS))
            return [Row(name, metric.summary, metric.facts) for name, metric in both]


def outline() -> dict[str, Any]:
    """What `fairsparse.experiments.outline` reads: schemas of all options, and all rows."""

    def known(choices: Mapping[str, Choice]) -> dict[str, Any]:
        return {
            name: {
                "options": _bare(c.options.model_json_schema()) if c.options else None,
                "groups": c.groups,
                "shared": c.shared,
            }
            for name, c in choices.items()
        }

    return {
        "run": _bare(RunConfig.model_json_schema()),
        "data": known({name: choice(d) for name, d in _items(DATASETS)}),
        "model": known({name: choice(m, skip=2) for name, m in _items(MODELS)}),
        "methods": known({n: choice(m, leave_out=("sparsity",)) for n, m in _items(METHODS)}),
        "rows": {what: [dataclasses.astuple(row) for row in rows(what)] for what in LISTED},
    }


def _bare(schema: Any) -> Any:
    """A JSON schema without its texts."""
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    about = isinstance(schema.get("description"), str)
    return {k: _bare(v) for k, v in schema.items() if not (about and k == "description")}


def _items(registry: Registry[T]) -> list[tuple[str, T]]:
    return [(name, registry[name]) for name in registry]


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
    target: Callable[..., Any], skip: int = 0, leave_out: Sequence[str] = (), prefix: str = ""
) -> list[tuple[str, str, str]]:
    result = []
    model, texts = options_model(target, skip, leave_out), parameters(target)
    for name, info in (model.model_fields if model is not None else {}).items():
        text = info.description or texts.get(name, ("", ""))[1]
        if get_origin(info.annotation) is Literal:
            text = " | ".join(map(str, get_args(info.annotation))) + (f"; {text}" if text else "")
        default = info.get_default(call_default_factory=True)
        if dataclasses.is_dataclass(default):
            result += _options(type(default), prefix=f"{name}.")
        else:
            shown = "(required)" if info.is_required() else _yaml(plain(default))
            result.append((prefix + name, shown, text))
    return result


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
