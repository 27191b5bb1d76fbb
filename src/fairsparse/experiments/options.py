"""Options as signatures declare them: checked, completed, and written plainly."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from fairsparse.core import InputError
from fairsparse.methods import Method

Options = dict[str, Any]


def complete(
    given: Options,
    where: str,
    lookup: Callable[[str], Callable[..., Any]],
    skip: int = 0,
    leave_out: Sequence[str] = (),
) -> Options:
    """Check ``{name, **options}`` against the signature of what it names and fill in defaults."""
    name = given.get("name")
    if not isinstance(name, str):
        raise InputError(f"{where}: needs a name, got {given!r}")
    try:
        target = lookup(name)
    except ValueError as error:  # as importlib's for an empty module name
        raise InputError(f"{where}: {error}") from None
    rest = {key: value for key, value in given.items() if key != "name"}
    moved: Mapping[str, str] = {}
    if isinstance(target, type) and issubclass(target, Method):
        moved = _moved(target, rest)
        try:
            rest = regrouped(target, rest)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    for key in leave_out:
        if key in rest:
            raise InputError(f"{where}.{key}: set it for all methods, under 'sparsities', not here")
    model = options_model(target, skip, leave_out)
    if model is None:
        return given
    values = checked(model, rest, where).model_dump(mode="json")
    _tell_moved(moved, where)
    return {"name": name, **plain(values)}


def _moved(method: type[Method], options: Mapping[str, Any]) -> dict[str, str]:
    """Options that are spelled flat -> the group that each belongs to now."""
    groups = {group: dataclasses.asdict(getattr(method(), group)) for group in method.groups}
    homes = {name: group for group, members in groups.items() for name in members}
    return {name: homes[name] for name in options if name in homes}


def regrouped(method: type[Method], options: Mapping[str, Any]) -> Options:
    """Options with those that are spelled flat in their groups."""
    moved = _moved(method, options)
    result = {name: value for name, value in options.items() if name not in moved}
    for name, home in moved.items():
        group = result.get(home, {})
        if not isinstance(group, Mapping) or name in group:
            raise InputError(f"{name} and {home} are both given; write {home}.{name} alone")
        result[home] = {**group, name: options[name]}
    return result


def _tell_moved(moved: Mapping[str, str], where: str) -> None:
    """One line, once, of options that are spelled as before they were in groups."""
    names = ", ".join(f"{option} is now {home}.{option}" for option, home in moved.items())
    line = f"fairsparse: {where}: {names}; the old names are still read"
    if moved and line not in _TOLD:
        _TOLD.add(line)
        print(line, file=sys.stderr)


_TOLD: set[str] = set()


def options_model(
    target: Callable[..., Any], skip: int = 0, leave_out: Sequence[str] = ()
) -> type[BaseModel] | None:
    """A pydantic model of the keyword options of a function or of a method's fields.

    None when `target` takes arbitrary keywords, as a user's own factory may.
    """
    fields: dict[str, Any] = {}
    hints = _hints(target)
    is_method = isinstance(target, type) and issubclass(target, Method)
    own = getattr(target, "__dataclass_fields__", {}) if is_method else {}
    for parameter in [*inspect.signature(target).parameters.values()][skip:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            return None
        if parameter.name in leave_out:
            continue
        default: Any = parameter.default
        if parameter.name in own:  # whose signature does not say what factories make
            default = getattr(target, parameter.name, None)
            factory = own[parameter.name].default_factory
            default = default if factory is dataclasses.MISSING else factory()
        hint = hints.get(parameter.name, Any)
        fields[parameter.name] = (hint, ... if default is inspect.Parameter.empty else default)
    return create_model(
        getattr(target, "__name__", "Options"),
        __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True),
        **fields,
    )


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    is_class = isinstance(target, type) and not dataclasses.is_dataclass(target)
    try:
        return get_type_hints(target.__init__ if is_class else target, include_extras=True)
    except NameError:  # a user's hints may name what is imported for type checkers alone
        return {}


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
        nested = [c for c in candidates if dataclasses.is_dataclass(c)]
        if not nested:
            return []
        model = nested[0]
    if dataclasses.is_dataclass(model):
        return [f.name for f in dataclasses.fields(model)]
    return list(model.model_fields)


def plain(value: Any) -> Any:
    """Turn tuples, paths and dataclasses into what YAML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
