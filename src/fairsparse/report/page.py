"""Pages: sections of texts, tables, plots and pictures as one self-contained HTML text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import jinja2
import yaml

from fairsparse._version import __version__
from fairsparse.report.plots import Plot
from fairsparse.report.table import Table


class Block(NamedTuple):
    """What a macro of ``parts.html`` shows: its name, and what it is given."""

    macro: str
    content: Any


class Picture(NamedTuple):
    """An image, as a ``data:`` address with its alternative, or a text in its place."""

    caption: str
    source: str = ""
    alternative: str = ""
    text: str = ""


Part: TypeAlias = str | Table | Plot | Block
"""Of a section; a text is a paragraph."""


class Section(NamedTuple):
    """A part of a page; None, texts without letters and tables without rows are left out."""

    title: str
    parts: Iterable[Part | None]


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fairsparse.report"),
        autoescape=True,  # names of classes and groups are whatever users' files hold
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def render(title: str, lead: str, sections: Iterable[Section], version: str = __version__) -> str:
    """Return a page: HTML that needs no other file, no network and no scripts.

    Parameters
    ----------
    title, lead : str
        Its heading, and a sentence below that.
    sections : iterable of Section
        Those that hold nothing are left out.
    version : str
        Of fairsparse, where the numbers were made.
    """
    full = [
        (section.title, blocks)
        for section in sections
        if (blocks := [_block(part) for part in section.parts if _holds(part)])
    ]
    template = _environment().get_template("page.html")
    return template.render(title=title, lead=lead, sections=full, version=version)


def _holds(part: Part | None) -> bool:
    return bool(part.rows if isinstance(part, Table) else part)


def _block(part: Any) -> Block:
    return part if isinstance(part, Block) else Block(type(part).__name__.lower(), part)


def words(texts: Iterable[str]) -> list[Block]:
    """The paragraphs that sum a page up."""
    return [Block("words", text) for text in texts]


def note(text: str) -> Block:
    """A paragraph of small print."""
    return Block("note", text)


def settings(summary: str, value: Any) -> Block:
    """Nested settings, as YAML, shown on demand."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return Block("details", (summary, text))
