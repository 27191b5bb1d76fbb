"""Write the tables of settings, methods, data sets and measures into docs/*.md, from the code.

The schemas of audit.json and record.json are written beside them, and into the package the outline
by which the command line refuses configurations.

    python docs/generate.py

A table stands between two marker comments; what is around them is written by hand.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from fairsparse import record
from fairsparse.auditing import document
from fairsparse.data import DATASETS
from fairsparse.data.registry import terms
from fairsparse.experiments.catalog import ATTRIBUTE, STRUCTURE, outline
from fairsparse.experiments.config import RunConfig
from fairsparse.experiments.options import options_model
from fairsparse.experiments.outline import OUTLINE
from fairsparse.fairness.inference.calibration import CALIBRATIONS
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.notions import NOTIONS
from fairsparse.fairness.steering.budget import Budget
from fairsparse.masks.criteria.registry import CRITERIA
from fairsparse.methods import METHODS
from fairsparse.methods.ballot.settings import Search, Selection
from fairsparse.models import MODELS
from fairsparse.registry import parameters
from fairsparse.training import Recipe
from fairsparse.training.refinement import Refinement

DOCS = Path(__file__).parent
Schema = dict[str, Any]

WORDS = {
    "methods": "list of a name, or of a mapping with name and options; see below",
    "sparsities": "zero prunable weights / prunable weights; every method but dense runs at each",
    "seeds": "one run of everything for each",
    "training": "mapping; see below",
    "batch_size": "examples a step",
    "optimizer": "rule of the weight update",
    "weight_decay": "L2 penalty (decoupled with adamw)",
    "schedule": "how the learning rate, or the sparsity, moves over the steps",
    "scope": "one ranking; equal sparsity in each layer; or layer densities by shape (ERK)",
    "importance": "what a weight is worth before conflict is counted",
    "combine": "how conflict lowers importance: by a factor exp(-lambda kappa), or by rank",
    "norm": "how cosines become conflict: rank in the layer, clipped negative, or shifted",
    "gate": "count conflict only where removing the unit lowers the gap, to first order",
    "fair_loss": "gap whose gradient is held against accuracy's: variance, smooth range, both",
    "refinement": "mapping; see below",
    "prune_first": "also prune the first layer where it is a convolution",
    "prune_last": "also prune the last layer, whose rows are the classes",
    "hidden": "widths of the hidden layers",
    "dropout": "share of hidden units dropped in training",
    "width": "filters of the first stage",
    "rewind": "what a ticket goes back to",
}
"""For settings that the code describes by their name and type alone."""


def settings_tables() -> str:
    """Every setting of a configuration file."""
    parts = [section("Top level", table(RunConfig.model_json_schema()))]
    parts.append(section("`training`", table(TypeAdapter(Recipe).json_schema())))
    for title, registry, skip, leave_out in (
        ("data", DATASETS, 0, ()),
        ("model", MODELS, 2, ()),
        ("methods", METHODS, 0, ("sparsity",)),
    ):
        for name in registry:
            made = options_model(registry[name], skip, leave_out)
            assert made is not None
            text = f"{summary(registry[name])}\n\n{options(made, registry[name])}"
            parts.append(section(f"`{title}: {name}`", text))
    for group, kind in (("selection", Selection), ("search", Search)):
        schema = TypeAdapter(kind).json_schema()
        parts.append(section(f"`{group}`", f"Of `ballot`.\n\n{table(schema)}"))
    about = "Of `ballot` and of every method with a setting `refinement`."
    parts.append(
        section("`refinement`", f"{about}\n\n{table(TypeAdapter(Refinement).json_schema())}")
    )
    about = "Of `ballot` and `lth`, where it is given."
    parts.append(section("`budget`", f"{about}\n\n{table(TypeAdapter(Budget).json_schema())}"))
    return "\n\n".join(parts)


def data_table() -> str:
    """What each data set is, where its files are looked for, and its terms."""
    parts = []
    for name in DATASETS:
        builder = DATASETS[name]
        lines = [summary(builder), f"* Terms: {terms(builder)}"]
        where = described(builder).get("path")
        if where:
            lines.insert(1, f"* Files: {where}")
        parts.append(section(f"`{name}`", "\n\n".join(lines[:1]) + "\n\n" + "\n".join(lines[1:])))
    return "\n\n".join(parts)


def criteria_table() -> str:
    """What each criterion computes, and what it has to see."""
    seen = {"nothing": "no", "shape": "shape of an input", "inputs": "inputs", "labels": "labelled"}
    rows = [
        (
            f"`{name}`",
            CRITERIA[name].summary.rstrip("."),
            CRITERIA[name].reference,
            seen[CRITERIA[name].needs],
            "filters" if CRITERIA[name].of_filters else "weights",
        )
        for name in CRITERIA
    ]
    return grid(("criterion", "what it computes", "source", "data", "of"), rows)


def methods_table() -> str:
    """What tells the methods apart, in the words of `fairsparse list methods`."""
    rows = [
        (
            f"`{name}`",
            STRUCTURE[facts.structure],
            ATTRIBUTE[facts.attribute],
            facts.cost,
        )
        for name, facts in ((name, METHODS[name].facts) for name in METHODS)
    ]
    return grid(("method", "structure", "sensitive attribute", "cost in dense trainings"), rows)


def measures_table() -> str:
    """What each measure is, in the words of `fairsparse list metrics`."""
    parts = []
    for title, registry in (
        ("Of one model", METRICS),
        ("Of two models", DEGRADATIONS),
        ("Of confidence", CALIBRATIONS),
    ):
        rows = [
            (
                f"{metric.label}, `{metric.name}`",
                " ".join(
                    inspect.cleandoc(metric.function.__doc__ or "").replace("``", "`").split()
                ),
                metric.unit.value or "–",
                metric.better,
                summary(type(metric.interval)).rstrip("."),
                sizes(metric),
            )
            for metric in (registry[name] for name in registry)
        ]
        head = ("measure", "what it is", "unit", "better", "interval", "undefined when")
        parts.append(section(title, grid(head, rows)))
    return "\n\n".join(parts)


def notions_table() -> str:
    """What each notion of fairness compares, in the words of `fairsparse list notions`."""
    rows = [
        (f"`{name}`", NOTIONS[name].sentence, f"`{NOTIONS[name].gap}`", NOTIONS[name].needs)
        for name in NOTIONS
    ]
    return grid(("notion", "what is to be equal", "its gap in reports", "needs"), rows)


def sizes(measure: Any) -> str:
    """When a measure has no value."""
    if measure.cells == "all":
        return "never"
    kind = measure.cells.replace("outcome", "class")
    few = "no example" if measure.least == 1 else f"fewer than {measure.least} examples"
    if measure.needs_groups:
        return f"a {kind} has {few}; absent without groups"
    return f"a {kind} has {few}" + ("; classes stand in for groups" if "group" in kind else "")


def section(title: str, text: str) -> str:
    """A heading and what stands below it."""
    return f"### {title}\n\n{text}"


def summary(thing: Callable[..., Any]) -> str:
    """The first paragraph of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def options(model: type[BaseModel], target: Callable[..., Any]) -> str:
    """The table of the options of a data set, a model or a method."""
    schema = model.model_json_schema()
    if not schema.get("properties"):
        return "No options."
    return table(schema, described(target))


def table(schema: Schema, texts: dict[str, str] | None = None) -> str:
    """One row for each property of a JSON schema."""
    rows = []
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        default = "required" if required else f"`{shown(field.get('default', {}))}`"
        text = field.get("description") or (texts or {}).get(name) or WORDS.get(name)
        if not text:
            raise SystemExit(f"setting '{name}' has no description: add one to the code")
        rows.append((f"`{name}`", allowed(field), default, text.rstrip(".")))
    return grid(("setting", "allowed", "default", "what it is"), rows)


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def shown(value: Any) -> str:
    """A default as YAML shows it."""
    if isinstance(value, dict):
        return "{name: " + value["name"] + "}" if "name" in value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def allowed(field: Schema) -> str:
    """The values a JSON schema admits, in words."""
    if "anyOf" in field:
        return " or ".join(allowed(option) for option in field["anyOf"])
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "mapping"
    match field.get("type"):
        case "array":
            least = ", at least one" if field.get("minItems") else ""
            return f"list of {allowed(field['items'])}{least}"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + span(field)
        case "boolean":
            return "`true`, `false`"
        case "null":
            return "`null`"
        case "string":
            return "path" if field.get("format") == "path" else "text"
    return "mapping"


def span(field: Schema) -> str:
    """The range of a number, as an interval or as a bound."""
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    left = f"[{low:g}" if low is not None else f"({above:g}" if above is not None else ""
    right = f"{high:g}]" if high is not None else f"{below:g})" if below is not None else ""
    if left and right:
        return f" in {left}, {right}"
    if left:
        return f" ≥ {low:g}" if low is not None else f" > {above:g}"
    return ""


def described(target: Callable[..., Any]) -> dict[str, str]:
    """What a numpydoc section Parameters says: name -> text."""
    return {name: text.replace("``", "`") for name, (_, text) in parameters(target).items() if text}


FILES = {
    "configuration.md": (settings_tables,),
    "data.md": (data_table,),
    "measures.md": (notions_table, measures_table),
    "methods.md": (methods_table, criteria_table),
}


def render(name: str) -> str:
    """The text of a file of docs/ with its tables, in their order, as the code has them now."""
    begin, end = "<!-- generated: python docs/generate.py -->", "<!-- end of generated -->"
    pattern = re.compile(f"{begin}.*?{end}", re.DOTALL)
    text = (DOCS / name).read_text()
    if len(pattern.findall(text)) != len(FILES[name]):
        raise SystemExit(f"{name}: needs {len(FILES[name])} pairs of the lines '{begin}', '{end}'")
    blocks = iter([f"{begin}\n\n{make()}\n\n{end}" for make in FILES[name]])
    return pattern.sub(lambda _: next(blocks), text)


def main() -> None:
    """Write all files."""
    for name in FILES:
        (DOCS / name).write_text(render(name))
    for name, home in (("audit", document), ("record", record)):
        (DOCS / f"{name}.schema.json").write_text(json.dumps(home.schema(), indent=2) + "\n")
    OUTLINE.write_text(outlined())


def outlined() -> str:
    """What the command line knows before it imports anything."""
    return json.dumps(outline(), indent=1) + "\n"


if __name__ == "__main__":
    main()
