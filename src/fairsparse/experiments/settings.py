"""What a configuration is, whatever it names: read, checked, completed, and written plainly.

Nothing here needs what is named, nor torch: a model of the options is all that is known of it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from fairsparse import yamls
from fairsparse.core import InputError

Options = dict[str, Any]


class Settings(BaseModel):
    """How the settings of a study may be written; those who extend it say what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("data", "model", mode="before", check_fields=False)
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("methods", mode="before", check_fields=False)
    @classmethod
    def _list(cls, value: Any) -> Any:
        values = [value] if isinstance(value, (str, dict)) else value
        if not isinstance(values, (list, tuple)):
            return values
        return tuple({"name": v} if isinstance(v, str) else v for v in values)

    @field_validator("sparsities", "seeds", "controls", mode="before", check_fields=False)
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (int, float, str)) else value

    @field_validator("sparsities", "seeds", "controls", check_fields=False)
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        again = [v for i, v in enumerate(values) if v in values[:i]]
        if again:
            raise PydanticCustomError("again", f"{again[0]} is there twice; name each once")
        return values


S = TypeVar("S", bound=Settings)


class Choice(NamedTuple):
    """What is known of a thing that a configuration names.

    A model of its options, None where it takes any; those options that are spelled in a group, by
    the group; and those that are set for all methods at once.
    """

    options: type[BaseModel] | None
    groups: Mapping[str, Sequence[str]] = {}
    shared: Sequence[str] = ()


Lookup = Callable[[str], Choice]


def arranged(kind: type[S], values: Any, data: Lookup, model: Lookup, method: Lookup) -> S:
    """Check the values of a configuration and complete the options of all that it names.

    An `InputError` names the first setting that is unknown or out of range.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"a configuration is a mapping of settings ({', '.join(kind.model_fields)}),"
            f" got {type(values).__name__}"
        )
    config: Any = checked(kind, values, "")
    parts: dict[str, Any] = {
        "data": complete(config.data, "data", data),
        "model": complete(config.model, "model", model),
    }
    methods = tuple(complete(m, f"methods.{i}", method) for i, m in enumerate(config.methods))
    for i, named in enumerate(methods):
        if named in methods[:i]:
            first = methods.index(named)
            raise InputError(
                f"methods.{i}: '{named['name']}' with the same options as methods.{first}; change"
                " an option, or name it once"
            )
    result: S = config.model_copy(update={**parts, "methods": methods})
    return result


def complete(named: Options, where: str, lookup: Lookup) -> Options:
    """Check ``{name, **options}`` by what is known of the name, and fill in defaults."""
    name = named.get("name")
    if not isinstance(name, str):
        raise InputError(f"{where}: needs a name, got {named!r}")
    try:
        model, groups, shared = lookup(name)
    except ValueError as error:  # as importlib's for an empty module name
        raise InputError(f"{where}: {error}") from None
    rest = {key: value for key, value in named.items() if key != "name"}
    try:
        grouped, moved = regroup(groups, rest)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    for key in shared:
        if key in grouped:
            raise InputError(f"{where}.{key}: set it for all methods, under 'sparsities', not here")
    if model is None:
        return named
    values = checked(model, grouped, where).model_dump(mode="json")
    _tell_moved(moved, where)
    return {"name": name, **plain(values)}


def regroup(
    groups: Mapping[str, Sequence[str]], options: Mapping[str, Any]
) -> tuple[Options, dict[str, str]]:
    """Options with those that are spelled flat in their groups, and which group each went to."""
    homes = {name: group for group, members in groups.items() for name in members}
    moved = {name: homes[name] for name in options if name in homes}
    result = {name: value for name, value in options.items() if name not in moved}
    for name, home in moved.items():
        group = result.get(home, {})
        if not isinstance(group, Mapping) or name in group:
            raise InputError(f"{name} and {home} are both given; write {home}.{name} alone")
        result[home] = {**group, name: options[name]}
    return result, moved


def _tell_moved(moved: Mapping[str, str], where: str) -> None:
    """One line, once, of options that are spelled as before they were in groups."""
    names = ", ".join(f"{option} is now {home}.{option}" for option, home in moved.items())
    line = f"fairsparse: {where}: {names}; the old names are still read"
    if moved and line not in _TOLD:
        _TOLD.add(line)
        print(line, file=sys.stderr)


_TOLD: set[str] = set()


def checked(model: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Make `model` of `values`; an `InputError` names the first bad setting, under `where`."""
    _refuse_infinite(values, where)
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(_first(error, model, where)) from None
    except TypeError as error:
        raise InputError(f"{where or 'configuration'}: {error}") from None


def _refuse_infinite(value: Any, key: str) -> None:
    # JSON has no word for them, and no range check that has only one end stops them
    if isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_infinite(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _refuse_infinite(item, f"{key}.{i}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{key}: must be a finite number, got {value}")


def _first(error: ValidationError, model: type[BaseModel], where: str) -> str:
    problem = error.errors()[0]
    loc = [str(part) for part in problem["loc"]]
    key = ".".join([where, *loc] if where else loc)
    kind, got = problem["type"], problem.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        names = _known(model, loc[:-1])
        places = {
            option: f"{n}.{option}" for n in names for option in _known(model, [*loc[:-1], n])
        }
        places |= {name: name for name in names}
        close = difflib.get_close_matches(loc[-1], list(places), n=1, cutoff=0.3)
        hint = f" (did you mean '{places[close[0]]}'?)" if close else ""
        return f"{key}: unknown setting{hint}; known: {', '.join(sorted(names)) or 'none'}"
    if kind in ("missing", "missing_argument"):
        return f"{key}: missing; give it a value"
    # of a union each member complains, under the setting's key and a name for the member
    members = [p for p in error.errors() if p["loc"][:-1] == problem["loc"][:-1]]
    if len(members) > 1 and all(p.get("input") is got for p in members):
        messages = [p["msg"].removeprefix("Input should be ") for p in members]
        return f"{key.rpartition('.')[0]}: Input should be {' or '.join(messages)}, got {got!r}"
    return f"{key}: {problem['msg']}, got {got!r}"


def _known(model: Any, path: Sequence[str]) -> list[str]:
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        annotation = field.annotation if field is not None else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if _fields(c)]
        if not nested:
            return []
        model = nested[0]
    return _fields(model)


def _fields(model: Any) -> list[str]:
    if dataclasses.is_dataclass(model):
        return [f.name for f in dataclasses.fields(model)]
    return list(getattr(model, "model_fields", ()))


def plain(value: Any) -> Any:
    """Turn tuples, paths and dataclasses into what YAML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def read_values(path: Path, overrides: Sequence[str] = ()) -> Any:
    """Read a YAML file and apply overrides, such as ``training.epochs=5``; nothing is checked."""
    values = yamls.values(yamls.read(path), str(path))
    for override in overrides:
        _override(values, override)
    return values


def names_model(overrides: Sequence[str]) -> bool:
    """Whether the caller names the model himself, whatever a file does."""
    return any(override.partition("=")[0] in ("model", "model.name") for override in overrides)


def _override(values: Any, override: str) -> None:
    if isinstance(values, dict) and isinstance(values.get("methods"), (str, dict)):
        values["methods"] = [values["methods"]]
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set takes key=value, got '{override}'; for example training.epochs=5")
    *path, last = key.split(".")
    here = values
    for part in path:
        here = _step(here, part, key)
    value = yamls.values(text, f"--set {key}")
    if isinstance(here, list):
        _step(here, last, key)
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise InputError(f"--set {key}: '{last}' has no place in {here!r}")


def _step(here: Any, part: str, key: str) -> Any:
    if isinstance(here, dict):
        if isinstance(here.get(part), str) and part in ("data", "model"):
            here[part] = {"name": here[part]}
        return here.setdefault(part, {})
    if isinstance(here, list) and part.isdigit() and int(part) < len(here):
        if isinstance(here[int(part)], str):
            here[int(part)] = {"name": here[int(part)]}
        return here[int(part)]
    raise InputError(f"--set {key}: there is no '{part}' to set in {here!r}")
