"""What a run leaves: the model, its masks, its record, and the directory they live in."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fairsparse.checkpoint import read_tensors, write_bytes, write_tensors, write_text
from fairsparse.core import InputError, Shown
from fairsparse.experiments.config import to_yaml
from fairsparse.masks.maskset import MaskSet
from fairsparse.models import build, check_trusted
from fairsparse.record import (
    AuditPart,
    Record,
    mixed,
    read_predictions,
    read_record,
    seal,
    write_record,
)
from fairsparse.report.audit.sentences import verdict
from fairsparse.report.phrases import percent
from fairsparse.report.run.page import run_report
from fairsparse.training import State


@dataclass(repr=False)
class Result(Shown):
    """A pruned model with all that is known of it.

    Attributes
    ----------
    model : nn.Module
        The pruned network in evaluation mode; pruned weights are zero.
    record : Record
        Configuration, environment, data, sparsity, audit, history, costs, timings.
    dense : dict of Tensor
        State of the dense network.
    predictions : dict of ndarray
        ``{val,test}_{y,group,dense,sparse}``: labels, groups, and the logits of both networks.
    """

    model: nn.Module
    masks: MaskSet
    record: Record
    dense: State
    predictions: dict[str, np.ndarray]

    def about(self) -> dict[str, str]:
        """What was pruned by what, what is left, and what that did to accuracy."""
        record, accuracy = self.record, self.report.metrics["accuracy"]
        was, now = (percent(accuracy[role]["value"]) for role in ("reference", "candidate"))
        size = record.sparsity
        return {
            "run": f"{record.method.name} on {record.data.name}, seed {record.seed}",
            "weights": f"{size.kept:,} of {size.total:,} are left, {record.status}",
            "accuracy": f"{was} dense, {now} sparse, on {self.report.n:,} test examples",
            "verdict": verdict(self.report.cells),
        }

    @property
    def report(self) -> AuditPart:
        """The paired comparison with the dense network: measures, intervals, cells."""
        return self.record.audit

    def html(self) -> str:
        """The report as one self-contained HTML text."""
        return run_report(self.record)

    def save(self, folder: str | Path) -> Path:
        """Write the run directory; ``record.json`` comes last and marks it as complete."""
        folder = Path(folder)
        # without it the directory does not count as complete while files of two runs mix
        (folder / "record.json").unlink(missing_ok=True)
        write_text(folder / "config.yaml", to_yaml(self.record.config))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self.predictions)  # type: ignore[arg-type]
        about = {**_about(self.record), "seal": seal(self.record, buffer.getvalue())}
        write_tensors(folder / "dense.safetensors", self.dense, {**about, "kind": "dense"})
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"mask/{name}": t for name, t in self.masks.items()}
        write_tensors(folder / "sparse.safetensors", tensors, {**about, "kind": "sparse"})
        write_bytes(folder / "predictions.npz", buffer.getvalue())
        write_text(folder / "report.html", self.html())
        write_record(folder, self.record)
        return folder


def load(folder: str | Path, model: nn.Module | None = None, trust: bool = False) -> Result:
    """Read a run directory back; nothing is unpickled, and no code that it names is run.

    Parameters
    ----------
    folder : str or Path
        What `Result.save` or ``fairsparse run`` wrote.
    model : nn.Module, optional
        A network of the same architecture to load into; needed when the run pruned a module that
        was passed in from Python, or made by ``module:factory``.
    trust : bool
        Import the module that the directory names, and call its factory.

    Raises
    ------
    InputError
        When a file is missing, truncated, changed or of another run, or the model does not fit.
    """
    folder = Path(folder)
    record = read_record(folder)
    tensors = _tensors(folder, "sparse", record)
    state, masked = (
        {name.removeprefix(kind): t for name, t in tensors.items() if name.startswith(kind)}
        for kind in ("model/", "mask/")
    )
    if model is None:
        about = record.model
        if about.name is None:
            raise InputError(
                f"{folder}: holds a {about.class_} that was passed in from Python; make one and"
                " pass it as load(folder, model=...)"
            )
        check_trusted(about.name, str(folder), trust)
        model = build(about.name, tuple(about.input_shape), about.n_classes, **about.options)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder}: the weights do not fit the model ({reason}); pass one of the same"
            " architecture"
        ) from None
    model.eval()
    masks = MaskSet(masked)
    if masks.digest() != record.masks or not masks.is_applied(model):
        raise mixed(folder / "sparse.safetensors")
    dense = _tensors(folder, "dense", record)
    return Result(model, masks, record, dense, read_predictions(folder, record))


def _about(record: Record) -> dict[str, Any]:
    values = record.to_dict()
    return {key: values[key] for key in ("data", "model", "method", "seed", "sparsity", "masks")}


def _tensors(folder: Path, kind: str, record: Record) -> State:
    path = folder / f"{kind}.safetensors"
    tensors, about = read_tensors(path)
    if not isinstance(about, dict):
        raise mixed(path)
    about.pop("seal", None)  # held against the other files as they are read
    if about != {**_about(record), "kind": kind}:
        raise mixed(path)
    return tensors
