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
from fairsparse.data.builders import terms
from fairsparse.experiments.options import options_model, plain
from fairsparse.fairness.degradations import DEGRADATIONS
from fairsparse.fairness.metrics import METRICS
from fairsparse.methods import METHODS, Method
from fairsparse.methods.base import ATTRIBUTE, STRUCTURE
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
    model: type[BaseModel] | None, texts: Mapping[str, str] | None = None, prefix: str = ""
) -> list[tuple[str, str, str]]:
    result = []
    for name, info in (model.model_fields if model is not None else {}).items():
        text = info.description or (texts or {}).get(name, "")
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


def parameters(thing: Callable[..., Any]) -> dict[str, str]:
    """Parameter -> its description, from the section of a docstring that lists them.

    >>> def builder(size, cal, val):
    ...     '''A set.
    ...
    ...     Parameters
    ...     ----------
    ...     size : int
    ...         Pixels
    ...         a side.
    ...     cal, val : float
    ...         Shares.
    ...     '''
    >>> parameters(builder)
    {'size': 'Pixels a side.', 'cal': 'Shares.', 'val': 'Shares.'}
    """
    _, _, section = (inspect.getdoc(thing) or "").partition("Parameters\n----------\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.split("\n\n")[0].splitlines():
        if line.startswith(" "):
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
        else:
            names = line.partition(" : ")[0].split(", ")
            found |= dict.fromkeys(names, "")
    return found
