"""An audit as a bill of materials: the models with their metrics, as CycloneDX has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairsparse._version import __version__
from fairsparse.auditing.engine import Audit
from fairsparse.auditing.findings import LOST_MORE
from fairsparse.report import phrases
from fairsparse.report.audit import sentences
from fairsparse.report.table import Cell

_VERSION = "1.6"
_MOST = 1000
"""Cells of crossings that are told of."""
Json = dict[str, Any]


def bom(audit: Audit, manifest: Mapping[str, Any]) -> Json:
    """Reference and candidates as components of CycloneDX 1.6, each with its ``modelCard``.

    Numbers are fractions of 1. A metric without a slice is of all examples; slices are
    ``ATTRIBUTE: CELL``. A candidate's components name the digests of `manifest`.
    """
    measures, cells = sentences.of_candidate(audit, audit.candidates[0])
    accuracy = measures[measures["measure"] == "accuracy"].to_dict("records")[0]
    metrics = [_metric("accuracy", accuracy, "reference", "reference_")]
    metrics += _accuracies(_told(cells), "reference")
    reference = _component("reference", manifest, metrics)
    candidates = [_candidate(audit, name, manifest) for name in audit.candidates]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": _VERSION,
        "version": 1,
        "metadata": {
            "tools": {
                "components": [
                    {"type": "application", "name": "fairsparse", "version": __version__}
                ]
            }
        },
        "components": [reference, *candidates],
    }


def _candidate(audit: Audit, name: str, manifest: Mapping[str, Any]) -> Json:
    measures, every = sentences.of_candidate(audit, name)
    cells = _told(every)
    metrics = [
        _metric(row["measure"], row, "candidate", "candidate_", _over(row))
        for row in measures.to_dict("records")
        if phrases.defined(row["candidate"])
    ]
    metrics += _accuracies(cells, "candidate")
    for cell in cells:
        if cell["n"]:
            metrics.append(_metric("accuracy drop", cell, "drop", "", sentences.name(cell)))
    harmed = [cell for cell in cells if cell["finding"] == LOST_MORE]
    considerations = {
        "fairnessAssessments": [
            {"groupAtRisk": sentences.name(cell), "harms": _harm(cell)}
            for cell in sentences.by_excess(harmed)
        ],
        "performanceTradeoffs": [f"{phrases.sentence(sentences.headline(audit, name))}."],
    }
    component = _component(name, manifest, metrics)
    component["modelCard"]["considerations"] = considerations
    return component


def _told(cells: list[Cell]) -> list[Cell]:
    """Classes, groups, and of what is crossed the cells that lost most beyond the overall drop."""
    crossed = [cell for cell in cells if " x " in cell["kind"]]
    return [c for c in cells if " x " not in c["kind"]] + sentences.by_excess(crossed)[:_MOST]


def _over(row: Mapping[Any, Any]) -> str:
    everybody = phrases.about(row["measure"]).cells == "all"
    return "" if everybody else f"over {row['attribute']}"


def _harm(cell: Cell) -> str:
    lost = phrases.points(cell["excess_drop"], 1)
    return f"lost {lost} of accuracy more than all examples did, of {cell['n']:,} examples"


def _accuracies(cells: list[Cell], role: str) -> list[Json]:
    return [
        {"type": "accuracy", "value": f"{cell[role]:.6g}", "slice": sentences.name(cell)}
        for cell in cells
        if phrases.defined(cell[role])
    ]


def _metric(kind: str, row: Mapping[Any, Any], value: str, ends: str, of: str = "") -> Json:
    metric: Json = {"type": kind, "value": f"{row[value]:.6g}"} | ({"slice": of} if of else {})
    low, high = row[f"{ends}low"], row[f"{ends}high"]
    if phrases.defined(low) and phrases.defined(high):
        metric["confidenceInterval"] = {"lowerBound": f"{low:.6g}", "upperBound": f"{high:.6g}"}
    return metric


def _component(name: str, manifest: Mapping[str, Any], metrics: list[Json]) -> Json:
    files = [file for one in manifest["inputs"] if one["role"] == name for file in one["files"]]
    component: Json = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}",
        "name": name,
        "modelCard": {
            "modelParameters": {"task": "classification"},
            "quantitativeAnalysis": {"performanceMetrics": metrics},
        },
    }
    if len(files) == 1:
        component["hashes"] = [{"alg": "SHA-256", "content": files[0]["sha256"]}]
    if files:
        component["properties"] = [
            {"name": f"sha256:{file['path']}", "value": file["sha256"]} for file in files
        ]
    return component
