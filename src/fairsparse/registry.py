"""Named things a configuration can ask for: methods, data sets, models, metrics."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from fairsparse.types import InputError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or an empty string.

    >>> nearest("balot", ["ballot", "lth"])
    " (did you mean 'ballot'?)"
    >>> nearest("zzz", ["ballot", "lth"])
    ''
    """
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


class Registry(Generic[T]):
    """A name -> thing table whose errors name the nearest known name.

    Parameters
    ----------
    kind : str
        What the table holds, in the singular, as error messages say it.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
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
                f" known: {', '.join(sorted(self._items))}"
            )
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def in_order(self) -> list[str]:
        """The names in the order in which things were registered."""
        return list(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)
