"""An audit as a document: JSON with a published schema, and the tables that are written as CSV."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NotRequired

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fairsparse._version import __version__
from fairsparse.auditing.calibration import CalibrationRow, Real
from fairsparse.auditing.engine import Audit
from fairsparse.auditing.findings import FINDINGS
from fairsparse.auditing.inputs.labels import CLASS
from fairsparse.core import InputError
from fairsparse.neutral import neutral_cell

FORMAT = "fairsparse-audit/2"
"""Of a document; a change that readers would notice changes the number."""
Natural = Annotated[int, Field(ge=0)]


class OverallRow(TypedDict):
    """A candidate on all examples."""

    candidate_name: str
    n: int
    churn: float
    kappa: Real
    lost: int
    gained: int
    both_wrong_differently: int


class MeasureRow(TypedDict):
    """A measure of a candidate; null where there is no number.

    A range has the cells with the ``lowest`` and the ``highest`` value and their examples, an
    extreme one of them; ``few`` is whether either has fewer examples than cells must have.
    """

    candidate_name: str
    attribute: str
    measure: str
    reference: NotRequired[Real]
    reference_low: NotRequired[Real]
    reference_high: NotRequired[Real]
    reference_lowest: NotRequired[str | None]
    reference_lowest_n: NotRequired[Real]
    reference_highest: NotRequired[str | None]
    reference_highest_n: NotRequired[Real]
    reference_few: NotRequired[bool | None]
    candidate: Real
    candidate_low: Real
    candidate_high: Real
    candidate_lowest: NotRequired[str | None]
    candidate_lowest_n: NotRequired[Real]
    candidate_highest: NotRequired[str | None]
    candidate_highest_n: NotRequired[Real]
    candidate_few: NotRequired[bool | None]
    change: NotRequired[Real]
    change_low: NotRequired[Real]
    change_high: NotRequired[Real]
    floor: NotRequired[Real]
    how: str
    p: Real
    p_adjusted: Real


class CellRow(TypedDict):
    """A cell of a candidate; null where there is no number."""

    candidate_name: str
    attribute: str
    cell: str
    n: int
    reference: Real
    candidate: Real
    effective_n: Real
    guessed: Real
    drop: Real
    low: Real
    high: Real
    excess_drop: Real
    excess_low: Real
    excess_high: Real
    gained: int
    lost: int
    p: Real
    excess_p: Real
    p_adjusted: Real
    excess_p_adjusted: Real
    band_low: Real
    band_high: Real
    excess_band_low: Real
    excess_band_high: Real
    finding: str
    detectable: Real


class RankingRow(TypedDict):
    """A candidate's place, and its largest excess drop, whichever candidate is chosen."""

    candidate_name: str
    behind: int
    worst: Real
    worst_low: Real
    worst_high: Real
    rank_low: int
    rank_high: int


class VersusRow(TypedDict):
    """How much more accurate the second of two candidates is, and where it is shown to be."""

    first: str
    second: str
    change: Real
    low: Real
    high: Real
    p: Real
    p_adjusted: Real
    better: list[str]
    worse: list[str]


class SettingsDict(TypedDict):
    """What an audit was asked for."""

    margin: float
    depth: int
    least: int
    resamples: int
    seed: int
    alpha: float
    primary: str | None


class BasisDict(TypedDict):
    """What an audit stands on, as `Basis` has it."""

    chance_p: float
    unknown: Natural
    unknown_by: dict[str, Natural]
    unmatched: Natural
    allowed: Natural
    audits: int | None


class Document(TypedDict):
    """Everything an audit found."""

    format: str
    fairsparse: str
    n: Annotated[int, Field(ge=1)]
    class_names: list[str]
    positive: str | None
    attributes: dict[str, list[str]]
    settings: SettingsDict
    basis: BasisDict
    tests: int
    candidates: Annotated[list[str], Field(min_length=1)]
    notes: list[str]
    overall: list[OverallRow]
    measures: list[MeasureRow]
    cells: list[CellRow]
    calibration: list[CalibrationRow]
    ranking: list[RankingRow]
    versus: list[VersusRow]


_ADAPTER: TypeAdapter[Document] = TypeAdapter(Document)


def document(audit: Audit) -> Document:
    """Return an audit as JSON can hold it, NaN as null."""
    return Document(
        format=FORMAT,
        fairsparse=__version__,
        n=audit.n,
        class_names=list(audit.class_names),
        positive=audit.positive,
        attributes={name: list(groups) for name, groups in audit.attributes.items()},
        settings=SettingsDict(**asdict(audit.settings)),  # type: ignore[typeddict-item]
        basis=BasisDict(**asdict(audit.basis)),  # type: ignore[typeddict-item]
        tests=audit.tests,
        candidates=list(audit.candidates),
        notes=list(audit.notes),
        overall=rows(audit.overall),
        measures=rows(audit.measures),
        cells=rows(audit.cells),
        calibration=rows(audit.calibration),
        ranking=rows(audit.ranking),
        versus=rows(audit.versus),
    )


def rows(frame: pd.DataFrame) -> list[Any]:
    """The rows of a table as JSON can hold them."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in frame.to_dict("records")
    ]


def schema() -> dict[str, Any]:
    """The JSON schema of ``audit.json``."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **_ADAPTER.json_schema(), "title": f"audit.json, {FORMAT}"}


def document_path(path: str | Path) -> Path:
    """Where the document is: the file itself, or ``audit.json`` in a directory."""
    path = Path(path)
    return path / "audit.json" if path.is_dir() else path


def read_document(path: str | Path) -> Document:
    """Read ``audit.json`` or a directory that has one.

    `InputError` when it is missing, damaged, or of another format.
    """
    path = document_path(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; 'fairsparse audit --out DIR' writes one") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply; run the audit again") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run the audit again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: not an audit of format {FORMAT} (got {got}); run it again")
    try:
        found = _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}; run the audit again") from None
    if not _complete(found):
        raise InputError(f"{path}: candidates, cells and tables do not agree; run the audit again")
    return found


def _complete(found: Document) -> bool:
    """Whether every candidate has each class and group, with a finding there is."""
    kinds = {CLASS: found["class_names"], **found["attributes"]}
    cells = [(kind, name) for kind, names in kinds.items() for name in names]
    mine = {(r["candidate_name"], r["attribute"], r["cell"]) for r in found["cells"]}
    tables = sorted(row["candidate_name"] for row in found["overall"])
    return (
        tables == sorted(found["candidates"])
        and {name for name, *_ in mine} == set(tables)
        and all((name, *cell) in mine for name in tables for cell in cells)
        and all(row["finding"] in FINDINGS for row in found["cells"])
    )


def safe_csv(frame: pd.DataFrame) -> str:
    """A table as CSV, whose names and texts are those of `neutral_cell`.

    >>> safe_csv(pd.DataFrame({"cell": ["=1+1", "a"], "n": [1, 2]})).split()
    ['cell,n', "'=1+1,1", 'a,2']
    """
    done = frame.copy()
    for name in done.columns:
        if not pd.api.types.is_numeric_dtype(done[name]):
            done[name] = done[name].astype(str).map(neutral_cell, na_action="ignore")
    return done.rename(columns=lambda name: neutral_cell(str(name))).to_csv(index=False)
