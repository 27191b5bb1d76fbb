"""Commands on what was trained, here or elsewhere: audit | exemplars | explain | gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

console = Console()
Groups = Annotated[
    str | None, typer.Option("--groups", help="file with the groups of the examples, in columns")
]
Group = Annotated[
    list[str] | None,
    typer.Option("--group", help="a column of groups; by default all of --groups or --inputs"),
]
InputsOf = Annotated[
    str | None,
    typer.Option(
        "--inputs", help="what models are run on: NPZ, or a run or its YAML file: its test split"
    ),
]
Id = Annotated[str, typer.Option("--id", help="column by which rows are matched")]
Truth = Annotated[str, typer.Option("--truth", help="column of the true classes")]
Prediction = Annotated[str, typer.Option("--prediction", help="column of predicted classes")]
Score = Annotated[
    str, typer.Option("--score", help="what columns of scores begin with; the rest is the class")
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", help="all classes, separated by commas, where files lack some"),
]
Renormalise = Annotated[
    bool, typer.Option("--renormalise", help="take scores that do not sum to 1")
]
Depth = Annotated[int, typer.Option("--depth", help="of how many attributes groups are crossed")]


def audit(
    reference: Annotated[
        str,
        typer.Option(
            help="predictions of the model to compare with: CSV, Parquet, NPZ, a run; or the model:"
            " .onnx, .pt2, module:factory@weights"
        ),
    ],
    candidate: Annotated[
        list[str], typer.Option(help="the same of another model, as FILE or NAME=FILE; repeatable")
    ],
    groups: Groups = None,
    group: Group = None,
    inputs: InputsOf = None,
    id_: Id = "id",
    truth: Truth = "y",
    prediction: Prediction = "prediction",
    score: Score = "score_",
    classes: Classes = None,
    renormalise: Renormalise = False,
    margin: Annotated[float, typer.Option(help="a smaller drop counts as no worse")] = 0.01,
    depth: Depth = 2,
    least: Annotated[int, typer.Option(help="smaller cells are shown and not tested")] = 30,
    primary: Annotated[
        str | None,
        typer.Option(help="attribute, crossing or 'class' that is tested first, at the full level"),
    ] = None,
    resamples: Annotated[int, typer.Option(help="of intervals that are drawn")] = 2000,
    seed: Annotated[int, typer.Option(help="of these draws")] = 0,
    out: Annotated[Path, typer.Option(help="directory of the report")] = Path("audit"),
) -> None:
    """Compare classifiers on the same examples: what changed, and for whom."""
    from fairsparse.auditing.examples import Settings
    from fairsparse.auditing.inputs.join import audit_files
    from fairsparse.report.audit.page import write
    from fairsparse.report.audit.sentences import headline, paragraphs

    audited = audit_files(
        reference,
        _named(candidate),
        groups,
        settings=Settings(margin, depth, least, resamples, seed, primary=primary),
        **_reading((id_, truth, prediction, score), groups, group, inputs, classes, renormalise),
    )
    beside = {"--groups": groups, "--inputs": inputs}
    given = {"reference": reference, **_named(candidate)}
    write(audited, out, given | {role: path for role, path in beside.items() if path})
    for name in audited.candidates:
        _say(f"{name}: {headline(audited, name)}", paragraphs(audited, name))
    end(out, audited.notes)


def exemplars(
    reference: Annotated[
        list[str], typer.Option(help="one of the networks before, as audit takes it; repeatable")
    ],
    candidate: Annotated[
        list[str], typer.Option(help="one of those after, such as of another seed; repeatable")
    ],
    groups: Groups = None,
    group: Group = None,
    inputs: InputsOf = None,
    id_: Id = "id",
    truth: Truth = "y",
    prediction: Prediction = "prediction",
    score: Score = "score_",
    classes: Classes = None,
    renormalise: Renormalise = False,
    depth: Depth = 2,
    out: Annotated[Path, typer.Option(help="directory of the report")] = Path("exemplars"),
) -> None:
    """Find the examples on which compressed networks, over several seeds, part from dense ones."""
    from fairsparse.auditing.exemplars import exemplars_codes
    from fairsparse.auditing.inputs.join import join
    from fairsparse.report.exemplars import ExemplarReport, paragraphs, write

    reading = _reading((id_, truth, prediction, score), groups, group, inputs, classes, renormalise)
    model_inputs = reading["inputs"]
    joined = join(
        {
            **{f"reference {i}": path for i, path in enumerate(reference)},
            **{f"candidate {i}": path for i, path in enumerate(candidate)},
        },
        groups,
        **reading,
    )
    codes, before = list(joined.predicted.values()), len(reference)
    found = ExemplarReport(
        exemplars_codes(codes[:before], codes[before:], joined.examples, depth),
        before,
        len(candidate),
        joined.labels,
        model_inputs.viewer(joined.rows) if model_inputs else None,
        notes=joined.notes,
    )
    write(found, out)
    _say("", paragraphs(found))
    end(out, joined.notes)


def _reading(
    names: Sequence[str],
    groups: str | None,
    group: list[str] | None,
    inputs: str | None,
    classes: str | None,
    renormalise: bool,
) -> dict[str, Any]:
    """How files are read, as `join` takes it; `names` are of columns."""
    from fairsparse.auditing.inputs.columns import Columns

    columns = Columns(*names)
    return {
        "attributes": group or [],
        "columns": columns,
        "class_names": classes.split(",") if classes else None,
        "renormalise": renormalise,
        "inputs": _model_inputs(inputs, columns, None if groups else group),
    }


def _model_inputs(path: str | None, columns: Any, attributes: list[str] | None) -> Any:
    """What models are run on: an NPZ file, or the test split of a configuration or of a run."""
    from fairsparse.auditing.inputs.examples_of import of_task, read_inputs

    if path is None:
        return None
    where = Path(path)
    if where.is_dir():
        where = where / "config.yaml"
    if where.suffix not in (".yaml", ".yml"):
        return read_inputs(path, columns, attributes)
    from fairsparse.experiments.config import read_config
    from fairsparse.experiments.plan import make_task

    return of_task(make_task(read_config(where, [])), attributes)


def _say(head: str, paragraphs: Sequence[str]) -> None:
    if head:
        console.print(Text(head, style="bold"))
    for paragraph in filter(None, paragraphs):
        console.print(Padding(Text(paragraph), (0, 0, 0, 2 if head else 0)))


def end(out: Path, notes: Sequence[str] = ()) -> None:
    """Tell where the report is, after notes."""
    for note in notes:
        console.print(Text(note, style="dim"))
    report = (out / "report.html").resolve()
    console.print(f"Report: {report}", soft_wrap=True, highlight=False, markup=False)


def _named(candidates: list[str]) -> dict[str, str]:
    """NAME=FILE or FILE, which is then known by what its path ends in, without the kind of file."""
    from fairsparse.auditing.inputs.examples_of import FILES
    from fairsparse.core import InputError

    paths: dict[str, str] = {}
    for candidate in candidates:
        name, equals, path = candidate.partition("=")
        if not equals:
            ending = Path(candidate).suffix in FILES
            name, path = Path(candidate).stem if ending else Path(candidate).name, candidate
        if not name or not path or name == "reference" or name in paths:
            raise InputError(
                f"--candidate {candidate}: each needs a name of its own other than 'reference';"
                " write NAME=FILE"
            )
        paths[name] = path
    return paths


def explain(
    run_: Annotated[
        Path, typer.Argument(metavar="RUN", help="directory of a run that pruned a network")
    ],
    with_: Annotated[
        Path | None,
        typer.Option("--with", help="another run, to measure the loss on the line between both"),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="test examples shown at most")] = 8,
    sample: Annotated[
        int, typer.Option(min=1, help="test examples whose heat maps are compared")
    ] = 512,
    seed: Annotated[int, typer.Option(help="of sample, random mask and intervals")] = 0,
    out: Annotated[Path, typer.Option(help="directory of the report")] = Path("explain"),
) -> None:
    """Show what a network looks at before and after pruning, and how alike that is, for whom."""
    from fairsparse.experiments.explain import explain as compared
    from fairsparse.report.explain.page import paragraphs, write

    with Console(stderr=True).status("making heat maps"):
        explanation = compared(run_, with_, examples=examples, sample=sample, seed=seed)
    write(explanation, out)
    _say("", paragraphs(explanation))
    end(out)


def gate(
    audit_json: Annotated[Path, typer.Argument(metavar="AUDIT", help="audit.json of an audit")],
    policy: Annotated[Path | None, typer.Option(help="YAML file with rules")] = None,
    findings: Annotated[
        bool, typer.Option("--findings", help="list what rules can name, with its value")
    ] = False,
) -> None:
    """Hold an audit against a policy. Exit code 1: a rule is broken."""
    import datetime

    from fairsparse.auditing.document import read_document
    from fairsparse.auditing.gate import facts, judge, read_policy
    from fairsparse.core import InputError

    document = read_document(audit_json)
    if findings:
        for candidate in document["candidates"]:
            for name, value in facts(document, candidate).items():
                console.print(Text(f"{candidate}  {name}  {value:.6g}"), soft_wrap=True)
        return
    if policy is None:
        raise InputError("give a policy with --policy FILE, or --findings to list what it can name")
    verdicts = judge(document, read_policy(policy), datetime.date.today())
    for verdict in verdicts:
        console.print(Text(str(verdict)), soft_wrap=True)
    if any(verdict.status == "broken" for verdict in verdicts):
        raise typer.Exit(1)


COMMANDS: dict[Callable[..., None], str] = {
    audit: "fairsparse audit --reference dense.csv --candidate pruned=pruned.csv"
    " --groups people.csv --out audit",
    exemplars: "fairsparse exemplars --reference dense0.csv --reference dense1.csv"
    " --candidate pruned0.csv --candidate pruned1.csv --groups people.csv",
    explain: "fairsparse explain runs/my/ballot-0.9-seed0 --out explain",
    gate: "fairsparse gate audit/audit.json --policy policy.yaml",
}
"""Each with its example, in the order of the help."""
