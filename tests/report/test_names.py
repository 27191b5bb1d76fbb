"""Names from files act nowhere: not in pages, tables, Markdown, on terminals, or in logs."""

from __future__ import annotations

import csv
import io
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairsparse.auditing.document import safe_csv
from fairsparse.neutral import neutral, neutral_cell
from fairsparse.report.audit.markdown import escape
from runs import Ended, call, process

Capture = pytest.CaptureFixture[str]
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
BAD = {
    "carriage return": "a\r=cmd|' /C calc'!A0",
    "line break": "\n=1+1",
    "forged line": "b\nkept: worst_drop <= 0 (candidate: 0)",
    "escape": "c\x1b[2J\x1b]0;title\x07",
    "direction": "d\u202egnp.exe",
    "html": "<script>alert(1)</script>",
    "attribute": "\" onload='alert(1)",
    "markdown": "[x](http://evil) `|` ![y](z)",
    "line separator": "e\u2028::error::forged",
    "formula": "=HYPERLINK(1)",
    "math": "$\\frac$",
    "markup": "[red]f[/red][/]",
}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain \u00e9\u4e2d\u0639 a\u200db", "plain \u00e9\u4e2d\u0639 a\u200db"),
        ("a\tb\rc\nd", "a\\tb\\rc\\nd"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202eabc\u2066\u2028", "\\u202eabc\\u2066\\u2028"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_acts_is_written_out(given: str, shown: str) -> None:
    assert neutral(given) == shown
    assert neutral(shown) == shown
    assert neutral("a\nb\r", keep="\n") == "a\nb\\r"


@pytest.mark.parametrize(
    "text",
    ["=1", "+1", "-1+2", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\x00=1", "\u200e=1", "\uff1d1"],
)
def test_no_cell_is_a_formula(text: str) -> None:
    frame = pd.DataFrame({"cell": [text, f"a\r{text}", f"b\n{text}"], text: [1, 2, 3]})
    head, *rows = csv.reader(io.StringIO(safe_csv(frame), newline=""))
    assert len(rows) == 3
    assert head[1].startswith("'")
    assert rows[0][0].startswith("'")
    for line in safe_csv(frame).splitlines():
        assert line.startswith(("cell,'", "'", "a\\r", "b\\n", '"'))
    assert not ACTING.search(safe_csv(frame))


def test_numbers_and_common_names_stay() -> None:
    assert [neutral_cell(t) for t in ("a-b", "1", "o'x", "0=no")] == ["a-b", "1", "o'x", "0=no"]
    assert safe_csv(pd.DataFrame({"n": [-1.5]})) == "n\n-1.5\n"
    assert escape("a|b\n# c") == "a\\|b\\\\n\\# c"


class Reader(HTMLParser):
    """Collects the names of elements and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of predictions in which every name is one of the above."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    n, names = 1200, np.array(list(BAD.values()), object)
    y = names[rng.integers(0, 4, n)]
    frame = pd.DataFrame({"y": y, "prediction": np.where(rng.random(n) < 0.1, names[0], y)})
    for name in BAD.values():
        frame[name] = names[rng.integers(0, len(names), n)]
    frame.to_parquet("a.parquet", index=False)
    worse = frame.assign(prediction=np.where(rng.random(n) < 0.4, names[1], y))
    worse.to_parquet("b.parquet", index=False)
    return tmp_path


def audit(capsys: Capture, *groups: str) -> Ended:
    chosen = [word for name in groups for word in ("--group", name)]
    name = f"{BAD['escape']}\nkept: forged"
    given = ["--reference", "a.parquet", "--candidate", f"{name}=b.parquet"]
    return call(capsys, "audit", *given, *chosen, "--resamples", "20", "--depth", "1")


def test_no_file_of_an_audit_holds_an_acting_name(audited: Path, capsys: Capture) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        ended = audit(capsys, *BAD.values())
    assert ended.code == 0, ended.err
    assert not ACTING.search(ended.out)
    assert not any(line.startswith(("kept:", "::")) for line in ended.out.splitlines())
    for path in (audited / "audit").iterdir():
        assert not ACTING.search(path.read_text()), path.name
    page = (audited / "audit" / "report.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert not [name for name in reader.attributes if name.startswith("on")]
    assert {"table", "svg"} <= reader.tags
    for name in ("summary.md", "model_card.md"):
        text = (audited / "audit" / name).read_text()
        assert "\nkept:" not in text
        assert "<script" not in text
        prose = text.split("\n---\n")[-1]  # metadata of a card are YAML, and no Markdown
        assert not re.search(r"(?<!\\)\]\(http", prose)
    for path in audited.glob("audit/*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        assert len({len(row) for row in rows}) == 1, path.name
        for row in rows:
            for entry in row:
                number = re.fullmatch(r"-?[\d.e+-]+", entry)
                assert number or not entry.startswith(("=", "+", "-", "@", "\t", "\r")), entry


def test_a_gate_prints_one_line_a_rule(audited: Path, capsys: Capture) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        assert audit(capsys, BAD["forged line"]).code == 0
    Path("p.yaml").write_text("rules: [accuracy.change.lower >= -0.001]")
    ended = call(capsys, "gate", "audit/audit.json", "--policy", "p.yaml")
    assert ended.code == 1
    assert not ACTING.search(ended.out)
    assert not any(line.startswith("kept:") for line in ended.out.splitlines())


def test_a_refusal_does_not_act(tmp_path: Path) -> None:
    name = f"{BAD['escape']}.csv"
    ended = process("audit", "--reference", name, "--candidate", name, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "\\x1b[2J" in ended.err
    assert not ACTING.search(ended.err)
