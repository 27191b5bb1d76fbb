"""The registry of data sets: builders of a `Task` whose options can be given one by one."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable, Collection
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fairsparse.core import InputError
from fairsparse.data.task import Task
from fairsparse.registry import Registry, parameters

Builder = Callable[..., Task]

DATASETS: Registry[Builder] = Registry("data set")


def dataset(name: str, fixed: Collection[str] = ()) -> Callable[[Builder], Builder]:
    """Register a builder under `name`, with its groups of options laid flat.

    A parameter that is a dataclass, such as ``held: Held``, is a group of options. Users give its
    fields one by one, ``DATASETS[name](path, cal=0.2)`` or ``data: {name: ..., cal: 0.2}``; their
    defaults are those of the class, or of the parameter's default. Options in `fixed` keep theirs
    and are not offered. Signature and docstring of what is registered have all that are; where the
    builder's docstring describes an option of a group, that goes before the group's own words.
    Values are checked by their annotations; the terms in the docstring begin the task's notes.
    """

    def register(build: Builder) -> Builder:
        groups: dict[str, Any] = {}
        options: list[inspect.Parameter] = []
        texts: dict[str, tuple[str, str]] = {}
        for parameter in inspect.signature(build, eval_str=True).parameters.values():
            if not dataclasses.is_dataclass(parameter.annotation):
                options.append(parameter.replace(kind=parameter.POSITIONAL_OR_KEYWORD))
                continue
            kind: Any = parameter.annotation
            group = kind() if parameter.default is parameter.empty else parameter.default
            groups[parameter.name] = group
            texts |= parameters(kind)
            for option in inspect.signature(kind, eval_str=True).parameters.values():
                if option.name not in fixed:
                    options.append(option.replace(default=getattr(group, option.name)))
        texts |= parameters(build)
        signature = inspect.Signature(options, return_annotation=Task)

        @functools.wraps(build)
        def builder(*args: Any, **keywords: Any) -> Task:
            values = _checked(name, signature.bind(*args, **keywords))
            for key, group in groups.items():
                names = values.keys() & {field.name for field in dataclasses.fields(group)}
                values[key] = dataclasses.replace(group, **{n: values.pop(n) for n in names})
            task = build(**values)
            notes = f"{terms(build)} {task.notes}".strip()
            return dataclasses.replace(task, notes=notes)

        builder.__signature__ = signature  # type: ignore[attr-defined]
        builder.__annotations__ = {option.name: option.annotation for option in options}
        builder.__doc__ = _document(build, {o.name: texts.get(o.name, ("", "")) for o in options})
        return DATASETS.register(name)(builder)

    return register


def _checked(name: str, options: inspect.BoundArguments) -> dict[str, Any]:
    values = dict(options.arguments)
    for option, value in values.items():
        try:
            hint = options.signature.parameters[option].annotation
            values[option] = TypeAdapter(hint).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]
            got = f"{problem['msg']}, got {problem['input']!r}"
            raise InputError(f"{name}: {option}: {got}") from None
    return values


def _document(build: Builder, texts: dict[str, tuple[str, str]]) -> str:
    head = (inspect.getdoc(build) or "").partition("Parameters\n----------\n")[0].rstrip()
    wrap = textwrap.TextWrapper(96, initial_indent="    ", subsequent_indent="    ")
    wrap.break_on_hyphens = wrap.break_long_words = False
    entries = "\n".join(
        f"{name} : {kind}\n{wrap.fill(text)}" for name, (kind, text) in texts.items()
    )
    return f"{head}\n\nParameters\n----------\n{entries}\n"


def terms(builder: Builder) -> str:
    """Return the paragraph of a builder's docstring that begins with ``Terms:``, on one line.

    >>> def builder():
    ...     '''A set.
    ...
    ...     Terms: CC0; no groups
    ...     are recorded.
    ...     '''
    >>> terms(builder)
    'CC0; no groups are recorded.'
    """
    for paragraph in (inspect.getdoc(builder) or "").split("\n\n"):
        if paragraph.startswith("Terms:"):
            return " ".join(paragraph.removeprefix("Terms:").split())
    return ""
