"""What a run leaves: the model, its masks, its record, and the directory they live in."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor, nn

from fairsparse.audit.report import run_report
from fairsparse.checkpoint import read_tensors, write_bytes, write_json, write_tensors, write_text
from fairsparse.masks.maskset import MaskSet
from fairsparse.models import build
from fairsparse.training import State
from fairsparse.types import InputError


@dataclass
class Result:
    """A pruned model with all that is known of it.

    Attributes
    ----------
    model : nn.Module
        The pruned network; pruned weights are zero.
    masks : MaskSet
    record : dict
        JSON-able: configuration, environment, data, sparsity, audit, history, costs, timings.
    dense : dict of Tensor
        State of the dense network.
    predictions : dict of ndarray
        ``{val,test}_{y,group,dense,sparse}``: labels, groups, and the logits of both networks.
    """

    model: nn.Module
    masks: MaskSet
    record: dict[str, Any]
    dense: State
    predictions: dict[str, np.ndarray]

    @property
    def report(self) -> dict[str, Any]:
        """The paired comparison with the dense network: measures, intervals, cells."""
        return self.record["audit"]

    def html(self) -> str:
        """The report as one self-contained HTML text."""
        return run_report(self.record)

    def save(self, folder: str | Path) -> Path:
        """Write the run directory; ``record.json`` comes last and marks it as complete."""
        folder = Path(folder)
        config = self.record["config"]
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        about = {key: self.record[key] for key in ("data", "model", "method", "seed", "sparsity")}
        write_tensors(folder / "dense.safetensors", self.dense, {**about, "kind": "dense"})
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"mask/{name}": t for name, t in self.masks.items()}
        write_tensors(folder / "sparse.safetensors", tensors, {**about, "kind": "sparse"})
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self.predictions)  # type: ignore[arg-type]
        write_bytes(folder / "predictions.npz", buffer.getvalue())
        write_text(folder / "report.html", self.html())
        write_json(folder / "record.json", self.record)
        return folder


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``record.json`` of a complete run directory.

    Raises
    ------
    InputError
        When it is missing or damaged.
    """
    path = folder / "record.json"
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not a complete run (no record.json); give a directory that"
            " 'fairsparse run' or Result.save wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run again") from None
    if not isinstance(record, dict) or "audit" not in record:
        raise InputError(f"{path}: not a fairsparse record; run again")
    return record


def load(folder: str | Path, model: nn.Module | None = None) -> Result:
    """Read a run directory back; nothing is unpickled.

    Parameters
    ----------
    folder : str or Path
        What `Result.save` or ``fairsparse run`` wrote.
    model : nn.Module, optional
        A network of the same architecture to load into; needed when the run pruned a module that
        was passed in from Python and cannot be made from its name.

    Raises
    ------
    InputError
        When a file is missing, truncated or changed, or the model does not fit.
    """
    folder = Path(folder)
    record = read_record(folder)
    tensors, _ = read_tensors(folder / "sparse.safetensors")
    dense, _ = read_tensors(folder / "dense.safetensors")
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "mask": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        parts[kind][rest] = tensor
    if model is None:
        about = record["model"]
        if about["name"] is None:
            raise InputError(
                f"{folder}: holds a {about['class']} that was passed in from Python; make one and"
                " pass it as load(folder, model=...)"
            )
        model = build(
            about["name"], tuple(about["input_shape"]), about["n_classes"], **about["options"]
        )
    try:
        model.load_state_dict(parts["model"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: the weights do not fit the model: {reason}") from None
    masks = MaskSet(parts["mask"])
    if not masks.is_applied(model):
        raise InputError(f"{folder}: pruned weights are not zero; the files do not belong together")
    try:
        with np.load(folder / "predictions.npz", allow_pickle=False) as archive:
            predictions = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/predictions.npz: cannot be read ({error})") from None
    return Result(model, masks, record, dense, predictions)
