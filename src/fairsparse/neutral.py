"""Names from files as people read them: no name can pass for anything but a name.

Reports, tables, terminals and logs show names of classes, groups, columns and files as they are,
but for characters that would act there: those that end a line, move the cursor, turn the direction
of writing, or begin a formula.
"""

from __future__ import annotations

import re

_ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, escapes and line breaks among them
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # other line breaks; directions of writing
    "\ud800-\udfff]"  # halves of characters, as names of files have that are not UTF-8
)
_FORMULA = re.compile(r"\s*[=+\-@|%\uff1d\uff0b\uff0d\uff20]")


def neutral(text: str, keep: str = "") -> str:
    r"""Text in which characters that act are written out, apart from those to `keep`.

    >>> neutral("a\rkept: all\x1b[2J")
    'a\\rkept: all\\x1b[2J'
    """

    def written(match: re.Match[str]) -> str:
        mark = match[0]
        return mark if mark in keep else mark.encode("unicode_escape").decode("ascii")

    return _ACTING.sub(written, text)


def neutral_cell(text: str) -> str:
    r"""The same as a cell of a table: what a spreadsheet takes for a formula has an apostrophe.

    >>> neutral_cell("=1+1"), neutral_cell("\n=1"), neutral_cell("a=1")
    ("'=1+1", "'\\n=1", 'a=1')
    """
    # as it was given, since some programs leave out what would be written out here
    stripped = re.sub(_ACTING, "", text)
    return "'" + neutral(text) if _FORMULA.match(stripped) else neutral(text)
