"""Tables of reports: what a row is named, numbers with their intervals below, words, links."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from fairsparse.report import phrases
from fairsparse.report.phrases import Estimate, Number, between

Entry: TypeAlias = str | tuple[str, str] | dict[str, str]
"""A text, a text with a small line below it, or a link (``text``, ``href``)."""
Cell: TypeAlias = Mapping[str, Any]
"""What is known of a cell, by name; ``kind``, ``name`` and ``n`` among it."""

FOLD = 20
"""Longer tables are shown on demand."""
MOST_ROWS = 200
"""Cells of one table of a page."""


@dataclass(frozen=True)
class Table:
    """A table of a page: the first entry of a row names it, columns `text` hold words.

    Of more than `most_open` rows, the caption stands for them until it is opened.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    text: Sequence[int] = ()
    most_open: int | None = None

    @property
    def folded(self) -> bool:
        """Whether it is shown on demand."""
        return self.most_open is not None and len(self.rows) > self.most_open


class Column(NamedTuple):
    """A column: its title, what it says of an item, and whether that is words."""

    head: str
    entry: Callable[[Any], Entry]
    text: bool = False


def of(
    caption: str, items: Iterable[Any], columns: Sequence[Column], most_open: int | None = None
) -> Table:
    """A table with a row for each item."""
    rows = [[column.entry(item) for column in columns] for item in items]
    text = [i for i, column in enumerate(columns) if column.text]
    return Table(caption, [column.head for column in columns], rows, text, most_open)


def ranked(cells: Iterable[Cell], by: str, sign: int = 1) -> list[Cell]:
    """Cells by a value, the lowest first, or with sign -1 the largest; undefined ones last."""
    return sorted(cells, key=lambda c: sign * c[by] if phrases.defined(c[by]) else math.inf)


def cell_tables(
    cells: Iterable[Cell], columns: Sequence[Column], by: str, file: str, sign: int = -1
) -> list[Table]:
    """A table for each kind of cells, `ranked`; of more than `MOST_ROWS`, all are in `file`."""
    kinds: dict[str, list[Cell]] = {}
    for cell in cells:
        kinds.setdefault(cell["kind"], []).append(cell)
    what = "drop beyond the overall one" if by == "excess_drop" else by.replace("_", " ")
    first = f"the {'largest' if sign < 0 else 'lowest'} {what} first"
    tables = []
    for kind, some in kinds.items():
        caption = f"By {kind}: {phrases.plural(len(some), 'cell')}, {first}"
        if len(some) > MOST_ROWS:
            caption += f"; the first {MOST_ROWS}, all are in {file}"
        named = [Column(kind, lambda c: c["name"]), Column("n", lambda c: f"{c['n']:,}"), *columns]
        tables.append(of(caption, ranked(some, by, sign)[:MOST_ROWS], named, FOLD))
    return tables


def estimate(
    one: Estimate, form: Callable[[Number], str], value: str = "value", ends: str = ""
) -> Entry:
    """A value with its interval below it; its ends are called `ends` + ``low`` and ``high``."""
    if not phrases.defined(one[value]):
        return phrases.UNDEFINED
    return form(one[value]), between(one[f"{ends}low"], one[f"{ends}high"], form)


def counted(names: Sequence[str]) -> str:
    """How many there are, and the first of them."""
    return f"{len(names)}: {phrases.listing(names, 12)}"


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """What a report rests on: data, settings, environment."""
    return Table("What this rests on", [], rows, text=[1])
