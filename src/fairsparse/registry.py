"""Named things a configuration can ask for: methods, data sets, models, metrics."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from pydantic import GetPydanticSchema
from pydantic_core import PydanticKnownError, core_schema

from fairsparse.core import InputError

T = TypeVar("T")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest of the names, or an empty string.

    >>> nearest("balot", ["ballot", "lth"])
    " (did you mean 'ballot'?)"
    >>> nearest("zzz", ["ballot", "lth"])
    ''
    """
    close = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def listing(names: Sequence[str], most: int = 8) -> str:
    """Names separated by commas, at most `most` of them.

    >>> listing(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    text = ", ".join(names[:most])
    return f"{text} and {len(names) - most} more" if len(names) > most else text


class Registry(Generic[T]):
    """A name -> thing table whose errors name the nearest known name.

    `kind` says what it holds, in the singular, as error messages do. Names are listed by the
    alphabet or, without `sort`, as they were registered.
    """

    def __init__(self, kind: str, *, sort: bool = True) -> None:
        self.kind, self.sort = kind, sort
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that stores its argument under `name`; a name is given once."""
        if name in self._items:
            raise ValueError(f"{self.kind} '{name}' is registered twice")

        def add(item: T) -> T:
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise InputError(
                f"unknown {self.kind} '{name}'{nearest(name, self._items)};"
                f" known: {', '.join(self)}"
            )
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items) if self.sort else list(self._items))

    def __len__(self) -> int:
        return len(self._items)


def one_of(registry: Registry[Any]) -> GetPydanticSchema:
    """Return the annotation of a setting that names a thing in `registry`.

    It is checked and described as a `Literal` of the names would be, and knows names that are
    registered later.
    """

    def check(value: Any) -> str:
        if isinstance(value, str) and value in registry:
            return value
        *most, last = (f"'{name}'" for name in registry)
        expected = f"{', '.join(most)} or {last}" if most else last
        raise PydanticKnownError("literal_error", {"expected": expected})

    return GetPydanticSchema(
        lambda *_: core_schema.no_info_plain_validator_function(check),
        lambda *_: {"enum": list(registry), "type": "string"},
    )


def parameters(thing: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Parameter -> its type and its description, from the section of a docstring that lists them.

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
    {'size': ('int', 'Pixels a side.'), 'cal': ('float', 'Shares.'), 'val': ('float', 'Shares.')}
    """
    _, _, section = (inspect.getdoc(thing) or "").partition("Parameters\n----------\n")
    result: dict[str, tuple[str, str]] = {}
    # an entry is a line of names and their type, and indented lines that describe them
    for entry in re.split(r"\n(?! )", section.split("\n\n")[0]):
        head, *lines = entry.splitlines() or [""]
        names, _, kind = head.partition(" : ")
        text = " ".join(line.strip() for line in lines)
        result |= dict.fromkeys(names.split(", ") if head else [], (kind, text))
    return result
