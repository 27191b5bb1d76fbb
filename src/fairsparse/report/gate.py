"""What a gate found, for people, for JUnit's readers, and for GitHub Actions."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from fairsparse.auditing.gate import Judgement
from fairsparse.checkpoint import write_text
from fairsparse.neutral import neutral
from fairsparse.report.audit.markdown import escape

NAME = "fairsparse gate"
"""Of the JUnit file, by which it is known."""


def headline(verdicts: Sequence[Judgement]) -> str:
    """The verdict on one line: ``gate: broken (1 broken, 2 kept)``."""
    counts = Counter(verdict.status for verdict in verdicts)
    parts = [f"{counts[s]:,} {s}" for s in ("broken", "exempt", "kept") if counts[s]]
    return f"gate: {'broken' if counts['broken'] else 'kept'} ({', '.join(parts)})"


def write_junit(
    path: Path, verdicts: Sequence[Judgement], files: Mapping[str, Path], fault: str = ""
) -> None:
    """Write JUnit XML: a test for each rule and candidate.

    Parameters
    ----------
    path : Path
    files : mapping
        What was judged by what, by its role; names and SHA-256 digests become properties.
    fault : str
        Why there is no verdict; such a file has one test, with an error.
    """
    statuses = [verdict.status for verdict in verdicts]
    counts = {
        "tests": len(verdicts) + bool(fault),
        "failures": statuses.count("broken"),
        "errors": int(bool(fault)),
        "skipped": statuses.count("exempt"),
    }
    attributes = {"name": NAME, **{name: str(count) for name, count in counts.items()}}
    root = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    properties = ElementTree.SubElement(suite, "properties")
    for role, file in files.items():
        said = {role: str(file)}
        if file.is_file():
            said[f"{role}.sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        for name, value in said.items():
            ElementTree.SubElement(properties, "property", name=name, value=neutral(value))
    for verdict in verdicts:
        name, candidate = neutral(verdict.rule.text), neutral(verdict.candidate)
        case = ElementTree.SubElement(suite, "testcase", classname=candidate, name=name)
        if verdict.status != "kept":
            kind = "failure" if verdict.status == "broken" else "skipped"
            ElementTree.SubElement(case, kind, message=str(verdict))
    if fault:
        case = ElementTree.SubElement(suite, "testcase", classname=NAME, name="verdict")
        ElementTree.SubElement(case, "error", message=neutral(fault))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    write_text(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def github_annotations(verdicts: Sequence[Judgement], policy: Path) -> list[str]:
    """Commands by which GitHub Actions marks the rules that are not kept."""
    lines = []
    for verdict in verdicts:
        if verdict.status != "kept":
            kind = "error" if verdict.status == "broken" else "warning"
            line = f",line={verdict.rule.line}" if verdict.rule.line else ""
            file = _command(neutral(str(policy))).replace(":", "%3A").replace(",", "%2C")
            lines.append(f"::{kind} file={file}{line},title={NAME}::{_command(str(verdict))}")
    return lines


def _command(text: str) -> str:
    """A text within a command of GitHub Actions."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def add_to_github_summary(verdicts: Sequence[Judgement]) -> None:
    """Append the verdict to the summary of the step in which GitHub Actions runs this, if any."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        lines = [
            f"### {escape(headline(verdicts))}",
            "",
            *(f"* {escape(str(v))}" for v in verdicts),
        ]
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n\n")


def forget(folder: Path) -> None:
    """Remove an earlier audit from its directory, and verdicts on it, before another is written."""
    (folder / "audit.json").unlink(missing_ok=True)
    for path in folder.glob("*.xml"):
        with path.open("rb") as file:
            mine = f'<testsuites name="{NAME}"'.encode() in file.read(200)
        if mine:
            path.unlink()
