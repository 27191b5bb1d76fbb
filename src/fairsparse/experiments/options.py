"""Options as signatures declare them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from fairsparse.experiments.settings import Choice, Options, regroup
from fairsparse.methods import Method


def choice(target: Callable[..., Any], skip: int = 0, leave_out: Sequence[str] = ()) -> Choice:
    """What a configuration has to know of a function or a method; `options_model` says how."""
    groups = _groups(target) if isinstance(target, type) and issubclass(target, Method) else {}
    return Choice(options_model(target, skip, leave_out), groups, leave_out)


def _groups(method: type[Method]) -> dict[str, list[str]]:
    made = method() if method.groups else None
    return {group: list(dataclasses.asdict(getattr(made, group))) for group in method.groups}


def regrouped(method: type[Method], options: Mapping[str, Any]) -> Options:
    """Options with those that are spelled flat in their groups."""
    return regroup(_groups(method), options)[0]


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
