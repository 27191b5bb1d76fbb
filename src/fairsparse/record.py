"""What is recorded of a run: ``record.json``, with a published schema, written and read here.

What a record holds once is a value with attributes, which are also items, so that
``record.cost.steps`` is ``record["cost"]["steps"]``. Rows of tables are dictionaries. What
configurations, methods and training decide is as they give it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from fairsparse.checkpoint import AGAIN, read_meta, write_json
from fairsparse.core import InputError
from fairsparse.data.task import Task
from fairsparse.fairness.measure.outcomes import Confusion
from fairsparse.foreign import read_npz

FORMAT = 1
"""Of a record; a change that readers would notice raises it. Records before it name none."""

Real = float | None
"""None where there is no number; NaN before it is recorded."""


class EstimateRow(TypedDict):
    """A value with its 95 % interval, as `fairsparse.fairness.inference.estimates` has it."""

    value: Real
    low: Real
    high: Real
    dropped: float
    how: str
    floor: NotRequired[Real]


class EndsRow(TypedDict):
    """The cells with the lowest and highest value of a range, or one of them, and their examples.

    ``few`` is whether either has fewer examples than cells must have to be tested.
    """

    lowest: str | None
    lowest_n: int | None
    highest: str | None
    highest_n: int | None
    few: bool


class MetricChange(TypedDict):
    """A metric of both models, and candidate minus reference.

    ``p`` tests that it did not change; ``p_adjusted`` is over all measures of the audit. Of a range
    the ends are the two cells that make it.
    """

    reference: EstimateRow
    candidate: EstimateRow
    reference_ends: NotRequired[EndsRow]
    candidate_ends: NotRequired[EndsRow]
    change: EstimateRow
    p: NotRequired[Real]
    p_adjusted: NotRequired[Real]


class CellChange(TypedDict):
    """What changed for one cell.

    ``reference`` and ``candidate`` are accuracies, ``drop`` is their difference with its paired
    interval ``low`` .. ``high``, ``excess_drop`` is the drop beyond the overall one, with its
    interval; ``gained`` counts wrong -> right and ``lost`` right -> wrong. ``p`` is McNemar's
    p-value of the flips, ``excess_p`` that of no excess drop; both are adjusted over all cells of
    the audit. The intervals ``band_low`` .. ``band_high`` and those of the excess hold for all
    cells at once. All these are NaN for a cell that is too small to be tested. ``finding`` is what
    they tell, and ``detectable``, where it is nothing, the drop that would have been found with a
    chance of 80 %.
    """

    kind: str
    name: str
    n: int
    effective_n: NotRequired[Real]
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
    p_adjusted: Real
    excess_p: Real
    excess_p_adjusted: Real
    band_low: NotRequired[Real]
    band_high: NotRequired[Real]
    excess_band_low: NotRequired[Real]
    excess_band_high: NotRequired[Real]
    finding: NotRequired[str]
    detectable: NotRequired[Real]


class CellAccuracyRow(TypedDict):
    """Examples and accuracy of a cell."""

    name: str
    n: int
    accuracy: Real


class NetworkRow(TypedDict):
    """What one network's predictions measure."""

    n: int
    n_unknown: int
    values: dict[str, Real]
    undefined: dict[str, list[str]]
    by_class: list[CellAccuracyRow]
    by_group: list[CellAccuracyRow]
    by_cell: list[CellAccuracyRow]


class CorrectedRow(TypedDict):
    """A network after a correction, compared with itself before."""

    churn: float
    metrics: dict[str, MetricChange]


class ControlRow(TypedDict):
    """What a correction after training makes of both networks."""

    about: str
    needs_group_at_inference: bool
    dense: CorrectedRow
    sparse: CorrectedRow


class LayerRow(TypedDict):
    """A prunable weight, and how much of it is left."""

    name: str
    shape: list[int]
    total: int
    kept: int


class Part(BaseModel, Mapping[str, Any]):
    """A part of a record: its attributes are its items, in the order in which they are written.

    A value that another version did not record is no item; its attribute has a default.
    """

    # what another version recorded besides stays, in rows too; strict, because a text is no number
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    def __getitem__(self, key: str) -> Any:
        if key not in iter(self):
            raise KeyError(key)
        return getattr(self, f"{key}_" if key == "class" else key)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        fields = (name for name in type(self).model_fields if name in self.model_fields_set)
        return (name.rstrip("_") for name in (*fields, *(self.model_extra or ())))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class DataPart(Part):
    """Names, sizes and fingerprint of a task; of a table, what each column became."""

    name: str
    fingerprint: str
    sizes: dict[str, int]
    class_names: list[str]
    group_names: list[str]
    attributes: list[str]
    notes: str
    columns: dict[str, str] = {}


class ModelPart(Part):
    """A network: what it can be built from, its size, and where its weights are left.

    ``name`` is None of one that was passed in from Python.
    """

    name: str | None
    options: dict[str, Any]
    class_: str = Field(alias="class")
    input_shape: list[int]
    n_classes: int
    parameters: int
    prunable: int
    layers: list[LayerRow]


class MethodPart(Part):
    """A method with its options."""

    name: str
    summary: str
    reference: str
    options: dict[str, Any]


class SparsityPart(Part):
    """How much was asked to go, and what is left of the prunable weights."""

    asked: float
    measured: float
    kept: int
    total: int


class AuditPart(Part):
    """The paired comparison of the sparse with the dense network, on the test split."""

    n: int
    churn: float
    reference: NetworkRow
    candidate: NetworkRow
    metrics: dict[str, MetricChange]
    degradation: dict[str, EstimateRow]
    undefined: dict[str, list[str]]
    cells: list[CellChange]
    degradation_ends: dict[str, EndsRow] = {}
    resamples: int
    seed: int


class CostPart(Part):
    """Training steps of the run, and of its dense network."""

    steps: int
    dense_steps: int


class Record(Part):
    """All that is recorded of a run.

    Attributes
    ----------
    fairsparse : str
        The version that wrote it.
    environment : dict
        Versions and hardware the result depends on.
    cells : str
        The notion of fairness.
    masks : str
        Their digest.
    status : str
        The method's, or ``collapsed``.
    rounds, history : list of dict
        What the method tells of its rounds, and training of its epochs.
    controls : dict
        Correction after training -> `ControlRow`.
    counts, validation : dict
        Of ``dense`` and ``sparse``: test examples by group, true and predicted class, with a last
        group for unknown ones where there are any; accuracy, variance and range over the cells of
        validation.
    timings : dict
        Stage -> the seconds it took when it was made, by whichever run; ``total``, their sum; and
        ``audit``, which is no part of that.
    memory : dict
        Stage -> the most memory held while it was made, GiB: of the GPU, or of the process.
    """

    format: int = FORMAT
    fairsparse: str
    config: dict[str, Any]
    environment: dict[str, str | int]
    data: DataPart
    model: ModelPart
    method: MethodPart
    seed: int
    cells: str
    sparsity: SparsityPart
    masks: str
    status: str
    rounds: list[dict[str, Any]]
    audit: AuditPart
    controls: dict[str, ControlRow] = {}
    counts: dict[str, list[list[list[int]]]]
    validation: dict[str, dict[str, float]]
    history: list[dict[str, Any]]
    cost: CostPart
    timings: dict[str, float]
    memory: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Of all stages; records of before have a ``total`` that holds more, or less."""
        return sum(s for stage, s in self.timings.items() if stage not in ("total", "audit"))


def schema() -> dict[str, Any]:
    """The JSON schema of ``record.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(),
        "title": f"record.json, format {FORMAT}",
    }


def write_record(folder: Path, record: Record) -> None:
    """Write ``record.json``."""
    write_json(folder / "record.json", record.to_dict())


def seal(record: Record, predictions: bytes) -> dict[str, str]:
    """SHA-256 of a record and of ``predictions.npz``, which the files of weights carry.

    So a file of a run that was changed, or is of another run, is noticed. It is no signature: who
    changes all files of a run can make it anew. What stages took, of time and memory, is no part.
    """
    spent = ("timings", "memory")  # which differ between equal runs
    values = {k: v for k, v in record.to_dict().items() if k not in spent}
    text = json.dumps(values, sort_keys=True)
    return {
        "record": hashlib.sha256(text.encode()).hexdigest(),
        "predictions": hashlib.sha256(predictions).hexdigest(),
    }


def mixed(path: Path) -> InputError:
    """What to tell of a file of a run that is not the one that was written with the others."""
    return InputError(
        f"{path}: does not belong to the record.json beside it (changed, or of another run);"
        " restore it, or run again in another directory"
    )


def _sealed(folder: Path) -> dict[str, str]:
    """The seal of a run directory; nothing in those that were written before there were any."""
    path = folder / "sparse.safetensors"
    about = read_meta(path) if path.exists() else {}
    found = about.get("seal", {}) if isinstance(about, dict) else None
    if not isinstance(found, dict):
        raise mixed(path)
    return found


def confusion(
    data: DataPart | Task, logits: np.ndarray, y: np.ndarray, group: np.ndarray
) -> list[Any]:
    """Confusion counts [group, true, predicted]; a last row for unknown groups, when present."""
    names = (data.class_names, data.group_names)
    return Confusion.count(logits.argmax(1), y, group, *names).table.tolist()


def read_predictions(folder: Path, record: Record) -> dict[str, np.ndarray]:
    """Read ``predictions.npz`` of a run directory; `InputError` where it is not the record's.

    Labels, groups and logits of the splits, as `Result.predictions` has them.
    """
    path = folder / "predictions.npz"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{folder}: not a complete run ({path.name} is missing)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
    digest = hashlib.sha256(content).hexdigest()
    if _sealed(folder).get("predictions", digest) != digest:
        raise mixed(path)
    arrays = read_npz(io.BytesIO(content), path)
    try:
        counts = {
            kind: confusion(record.data, *(arrays[f"test_{p}"] for p in (kind, "y", "group")))
            for kind in ("dense", "sparse")
        }
    except Exception:  # arrays that are missing, or of any other shape or kind
        raise mixed(path) from None
    if counts != record.counts:
        raise mixed(path)
    return arrays


def read_record(folder: Path) -> Record:
    """Read ``record.json`` of a complete run directory.

    Raises
    ------
    InputError
        When it is missing, damaged, of a later format, or not the one that was written with the
        weights beside it.
    """
    record = _read_record(folder)
    digest = seal(record, b"")["record"]
    if _sealed(folder).get("record", digest) != digest:
        raise mixed(folder / "sparse.safetensors")
    return record


def _read_record(folder: Path) -> Record:
    path, again = folder / "record.json", AGAIN
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not a complete run (no record.json); give a directory that"
            " 'fairsparse run' or Result.save wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {again}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a fairsparse record; {again}")
    version = values.get("format", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        raise InputError(
            f"{path}: has format {version}, and this fairsparse reads formats up to {FORMAT};"
            " use the version that wrote it, or a later one"
        )
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{path}: {where}: {problem['msg']}; {again}") from None
