"""A parsed report: what a reader of the page finds in it."""

from __future__ import annotations

from html.parser import HTMLParser

from fairsparse.report import phrases

VOID = {"meta", "br", "link", "img"}
SPACE = phrases.SPACE
BAR = "¦"  # between a cell's value and its small line; names hold "|"


class Page(HTMLParser):
    """Checks that tags are balanced and keeps what tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.plot: dict[str, list[str]] = {}
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "svg":
            self.name = dict(attrs)["aria-label"] or ""
            self.plot[self.name] = []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "small":
            self.rows[-1][-1] += BAR
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "text" in self.open:
            self.plot[self.name].append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip("\n")

    def row(self, *start: str) -> list[str]:
        """The one row whose first entries, without their small lines, are these."""
        found = [r for r in self.rows if tuple(v.split(BAR)[0] for v in r[: len(start)]) == start]
        assert len(found) == 1, (start, found)
        return [value.replace(SPACE, " ") for value in found[0]]
