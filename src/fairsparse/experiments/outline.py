"""What configurations can name, as it was written down: to refuse and to list without torch.

``outline.json`` holds the JSON schemas of all options and the rows of ``fairsparse list``;
``python docs/generate.py`` writes it from the code, and a test holds it to that. A configuration is
checked against it first, because the code itself takes seconds to import.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, create_model

from fairsparse.core import InputError
from fairsparse.experiments.settings import Choice, Settings, arranged
from fairsparse.registry import Registry

OUTLINE = Path(__file__).with_name("outline.json")
_KINDS = {"data": "data set", "model": "model", "methods": "method"}
Schema = Mapping[str, Any]


def precheck(values: Any) -> None:
    """Raise `InputError` for what `make_config` would refuse, where it needs no code to tell.

    It also refuses a path of data at which there is nothing.
    """
    outline = read()
    parts = ("data", "model", "methods")
    config: Any = arranged(
        remade(outline["run"], Settings), values, *(partial(_choice, outline, p) for p in parts)
    )
    path = config.data.get("path")
    if isinstance(path, str) and not Path(path).exists():
        raise InputError(
            f"data.path: there is nothing at '{path}'; give the file or folder of the data set"
            f" '{config.data['name']}'"
        )


def rows(what: str) -> list[list[Any]]:
    """Name, summary, details and options of all that is listed of ``methods`` and so on."""
    if "torch" in sys.modules:  # then it costs nothing to count what was registered since
        from fairsparse.experiments import catalog

        return [[r.name, r.summary, r.details, r.options] for r in catalog.rows(what)]
    stored: list[list[Any]] = read()["rows"][what]
    return stored


def read() -> dict[str, Any]:
    """The outline of this version."""
    content: dict[str, Any] = json.loads(OUTLINE.read_text(encoding="utf-8"))
    return content


def _choice(outline: Mapping[str, Any], part: str, name: str) -> Choice:
    if part == "model" and ":" in name:
        return Choice(None)  # of the user's own, or from a hub
    registry: Registry[Any] = Registry(_KINDS[part])
    for other, entry in outline[part].items():
        registry.register(other)(entry)
    entry = registry[name]
    return Choice(remade(entry["options"]), entry["groups"], entry["shared"])


def remade(schema: Schema, base: type[BaseModel] | None = None) -> type[Any]:
    """A pydantic model, which extends `base`, of the JSON schema of another one.

    It refuses what that one does, in the same words, but for what functions check.
    """
    inner: dict[str, type[Any]] = {}
    for name, part in schema.get("$defs", {}).items():  # none of ours refers to another
        inner[name] = _model(part, inner)
    return _model(schema, inner, base)


def _model(
    schema: Schema, inner: Mapping[str, type[Any]], base: type[BaseModel] | None = None
) -> type[Any]:
    required = schema.get("required", ())
    fields: dict[str, Any] = {
        name: (_type(part, inner), ... if name in required else part.get("default", {}))
        for name, part in schema.get("properties", {}).items()
    }
    make: Callable[..., type[Any]] = create_model
    how = (
        {"__base__": base}
        if base
        else {"__config__": ConfigDict(extra="forbid", validate_default=True)}
    )
    return make(schema["title"], **how, **fields)


_LIMITS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "minItems": "min_length",
    "minLength": "min_length",
}
_TYPES = {"integer": int, "number": float, "boolean": bool, "string": str, "object": dict[str, Any]}


def _type(part: Schema, inner: Mapping[str, type[Any]]) -> Any:
    if "$ref" in part:
        return inner[part["$ref"].rpartition("/")[2]]
    if "anyOf" in part:
        return Union[tuple(_type(member, inner) for member in part["anyOf"])]  # noqa: UP007
    if "enum" in part or "const" in part:
        return Literal[tuple(part.get("enum") or [part["const"]])]
    kind: Any = part.get("type")
    if kind == "null":
        return None
    made = tuple[_type(part["items"], inner), ...] if kind == "array" else _TYPES.get(kind, Any)  # type: ignore[misc]
    limits = {word: part[name] for name, word in _LIMITS.items() if name in part}
    return Annotated[made, Field(**limits)] if limits else made
