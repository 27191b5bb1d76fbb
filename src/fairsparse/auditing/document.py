"""An audit as a document: JSON with a published schema, and the tables that are written as CSV."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fairsparse._version import __version__
from fairsparse.auditing.calibration import CalibrationRow, Real
from fairsparse.auditing.engine import Audit
from fairsparse.core import InputError

FORMAT = "fairsparse-audit/2"
"""Of a document; a change that readers would notice changes the number."""


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


class SettingsDict(TypedDict):
    """What an audit was asked for."""

    margin: float
    depth: int
    least: int
    resamples: int
    seed: int
    alpha: float
    primary: str | None


class Document(TypedDict):
    """Everything an audit found."""

    format: str
    fairsparse: str
    n: int
    class_names: list[str]
    attributes: dict[str, list[str]]
    settings: SettingsDict
    tests: int
    candidates: list[str]
    notes: list[str]
    overall: list[OverallRow]
    measures: list[MeasureRow]
    cells: list[CellRow]
    calibration: list[CalibrationRow]


_ADAPTER: TypeAdapter[Document] = TypeAdapter(Document)


def document(audit: Audit) -> Document:
    """Return an audit as JSON can hold it, NaN as null."""
    return Document(
        format=FORMAT,
        fairsparse=__version__,
        n=audit.n,
        class_names=list(audit.class_names),
        attributes={name: list(groups) for name, groups in audit.attributes.items()},
        settings=SettingsDict(**asdict(audit.settings)),  # type: ignore[typeddict-item]
        tests=audit.tests,
        candidates=list(audit.candidates),
        notes=list(audit.notes),
        overall=rows(audit.overall),
        measures=rows(audit.measures),
        cells=rows(audit.cells),
        calibration=rows(audit.calibration),
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


def read_document(path: str | Path) -> Document:
    """Read ``audit.json``; `InputError` when it is missing, damaged, or of another format."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; 'fairsparse audit --out DIR' writes one") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run the audit again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: not an audit of format {FORMAT} (got {got}); run it again")
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}; run the audit again") from None


def safe_csv(frame: pd.DataFrame) -> str:
    """A table as CSV; texts that spreadsheets take for a formula get a leading apostrophe.

    >>> safe_csv(pd.DataFrame({"cell": ["=1+1", "a"], "n": [1, 2]})).split()
    ['cell,n', "'=1+1,1", 'a,2']
    """
    done = frame.copy()
    for name in done.columns:
        if not pd.api.types.is_numeric_dtype(done[name]):
            text = done[name].astype(str)
            risky = text.str.startswith(("=", "+", "-", "@", "\t", "\r"))
            done[name] = text.where(~risky, "'" + text)
    return done.to_csv(index=False)
