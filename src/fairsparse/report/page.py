"""Pages: sections of texts, tables, plots and pictures as one self-contained HTML text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import jinja2
import yaml
from markupsafe import Markup

from fairsparse._version import __version__
from fairsparse.neutral import neutral
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


Part: TypeAlias = str | Table | Plot | Block | None
"""Of a section: a text is a paragraph; an empty one, None and a table without rows are nothing."""


Section: TypeAlias = tuple[str, list[Block]]
"""Its title, and what it holds; one that holds nothing is left out."""


def section(title: str, *parts: Part) -> Section:
    """A section of these parts, without those that are nothing."""
    some = [part for part in parts if (part.rows if isinstance(part, Table) else part)]
    return title, [p if isinstance(p, Block) else Block(type(p).__name__.lower(), p) for p in some]


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


def _neutral(value: Any) -> Any:
    """What a page shows of a value; what is HTML already stays as it is."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return neutral(value, keep="\n\t") if plain else value


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fairsparse.report"),
        autoescape=True,  # names of classes and groups are whatever users' files hold
        finalize=_neutral,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def render(title: str, lead: str, *sections: Section, version: str = __version__) -> str:
    """Return a page, `lead` below its title, as HTML that needs no other file and no scripts.

    `version` is of the fairsparse that the numbers were made with.
    """
    template = _environment().get_template("page.html")
    full = [(heading, blocks) for heading, blocks in sections if blocks]
    return template.render(title=title, lead=lead, sections=full, version=version)
