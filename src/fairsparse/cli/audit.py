"""Commands on what was trained, here or elsewhere: audit | exemplars | explain | gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from fairsparse.cli.terminal import Terminal
from fairsparse.neutral import neutral

console = Terminal()
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
Missing = Annotated[
    str | None,
    typer.Option("--missing", help="words that stand for nothing, besides an empty field: NA,?"),
]
Positive = Annotated[
    str | None, typer.Option("--positive", help="the positive class of two; else the last by name")
]
Bins = Annotated[
    list[str] | None,
    typer.Option("--bins", help="COLUMN=K: put its numbers into K ranges; repeatable"),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="import and run the code that a file names as its model")
]
Depth = Annotated[int, typer.Option("--depth", help="of how many attributes groups are crossed")]

Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="column of the units sampled, such as persons with pictures"),
]
Weights = Annotated[
    str | None, typer.Option("--weights", help="column of how many each example stands for")
]
Primary = Annotated[
    str | None,
    typer.Option(help="attribute, crossing or 'class' that is tested first, at the full level"),
]
Reference = Annotated[
    str,
    typer.Option(
        help="predictions of the model to compare with: CSV, Parquet, NPZ, a run; or the model:"
        " .onnx, .pt2, module:factory@weights"
    ),
]
Candidates = Annotated[
    list[str], typer.Option(help="the same of another model, as FILE or NAME=FILE; repeatable")
]
Margin = Annotated[float, typer.Option(help="a smaller drop counts as no worse")]
Least = Annotated[int, typer.Option(help="smaller cells are shown and not tested")]
Resamples = Annotated[int, typer.Option(help="of intervals that are drawn")]
Seed = Annotated[int, typer.Option(help="of these draws")]
AllowUnmatched = Annotated[
    str | None,
    typer.Option(
        metavar="N|SHARE", help="examples that files may lack: as many, or a share such as 0.02"
    ),
]
Ledger = Annotated[
    Path | None,
    typer.Option(help="file that counts audits of a test set; each is tested at less"),
]


def audit(
    reference: Reference,
    candidate: Candidates,
    groups: Groups = None,
    group: Group = None,
    inputs: InputsOf = None,
    id_: Id = "id",
    truth: Truth = "y",
    prediction: Prediction = "prediction",
    score: Score = "score_",
    classes: Classes = None,
    renormalise: Renormalise = False,
    missing: Missing = None,
    positive: Positive = None,
    bins: Bins = None,
    trust: Trust = False,
    cluster: Cluster = None,
    weights: Weights = None,
    margin: Margin = 0.01,
    depth: Depth = 2,
    least: Least = 30,
    primary: Primary = None,
    resamples: Resamples = 2000,
    seed: Seed = 0,
    allow_unmatched: AllowUnmatched = None,
    ledger: Ledger = None,
    out: Annotated[Path, typer.Option(help="directory of the report")] = Path("audit"),
) -> None:
    """Compare classifiers on the same examples: what changed, and for whom."""
    from fairsparse.auditing.basis import allowance
    from fairsparse.auditing.examples import Settings
    from fairsparse.auditing.inputs.join import audit_files
    from fairsparse.checkpoint import locked
    from fairsparse.report.audit.page import write
    from fairsparse.report.audit.sentences import headline, paragraphs

    names, notation = (id_, truth, prediction, score), (missing, positive, bins)
    audited = audit_files(
        reference,
        _named(candidate),
        groups,
        settings=Settings(margin, depth, least, resamples, seed, primary=primary),
        allow_unmatched=allowance(allow_unmatched),
        ledger=ledger,
        **_reading(
            names, groups, group, inputs, classes, renormalise, notation, (cluster, weights), trust
        ),
    )
    beside = {"--groups": groups, "--inputs": inputs}
    given = {"reference": reference, **_named(candidate)}
    with locked(out):
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
    missing: Missing = None,
    bins: Bins = None,
    trust: Trust = False,
    depth: Depth = 2,
    out: Annotated[Path, typer.Option(help="directory of the report")] = Path("exemplars"),
) -> None:
    """Find the examples on which compressed networks, over several seeds, part from dense ones."""
    from fairsparse.auditing.exemplars import exemplars_codes
    from fairsparse.auditing.inputs.join import join
    from fairsparse.checkpoint import locked
    from fairsparse.report.exemplars import ExemplarReport, paragraphs, write

    names, notation = (id_, truth, prediction, score), (missing, None, bins)
    reading = _reading(names, groups, group, inputs, classes, renormalise, notation, trust=trust)
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
    with locked(out):
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
    notation: tuple[str | None, str | None, list[str] | None],
    sampling: tuple[str | None, str | None] = (None, None),
    trust: bool = False,
) -> dict[str, Any]:
    """How files are read, as `join` takes it; `names` are of columns."""
    from fairsparse.auditing.inputs.columns import Columns

    cluster, weights = sampling
    columns = Columns(*names, notation=_notation(*notation), cluster=cluster, weights=weights)
    return {
        "attributes": group or [],
        "columns": columns,
        "class_names": classes.split(",") if classes else None,
        "renormalise": renormalise,
        "inputs": _model_inputs(inputs, columns, None if groups else group, trust),
    }


def _notation(missing: str | None, positive: str | None, bins: list[str] | None) -> Any:
    """How labels are meant, from the options."""
    from fairsparse.auditing.inputs.labels import Notation
    from fairsparse.core import InputError

    ranges = {}
    for one in bins or ():
        name, _, k = one.rpartition("=")
        if not name or not k.isdecimal():
            raise InputError(f"--bins {one}: write COLUMN=K with a whole number K, such as age=4")
        ranges[name] = int(k)
    return Notation(missing.split(",") if missing else (), positive, ranges)


def _model_inputs(path: str | None, columns: Any, attributes: list[str] | None, trust: bool) -> Any:
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
    from fairsparse.experiments.plan import make_task, unwritten

    config = read_config(where, trust=trust)
    return of_task(make_task(config if trust else unwritten(config)), attributes)


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
    trust: Trust = False,
    out: Annotated[Path, typer.Option(help="directory of the report")] = Path("explain"),
) -> None:
    """Show what a network looks at before and after pruning, and how alike that is, for whom."""
    from fairsparse.checkpoint import locked
    from fairsparse.experiments.explain import explain as compared
    from fairsparse.report.explain.page import paragraphs, write

    with Terminal(stderr=True).status("making heat maps"):
        explanation = compared(
            run_, with_, examples=examples, sample=sample, seed=seed, trust=trust
        )
    with locked(out):
        write(explanation, out)
    _say("", paragraphs(explanation))
    end(out)


def gate(
    audit_: Annotated[
        Path, typer.Argument(metavar="AUDIT", help="directory of an audit, or its audit.json")
    ],
    policy: Annotated[Path | None, typer.Option(help="YAML file with rules")] = None,
    findings: Annotated[
        bool, typer.Option("--findings", help="list what rules can name, with its value")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML file to write")] = None,
) -> None:
    """Hold an audit against a policy. Exit code 1: a rule is broken."""
    from fairsparse.auditing.document import document_path, read_document
    from fairsparse.auditing.gate import facts, read_policy
    from fairsparse.core import InputError
    from fairsparse.report.gate import write_junit

    if junit is not None:
        junit.unlink(missing_ok=True)  # of an earlier verdict
    if policy is None and (junit is not None or not findings):
        raise InputError("give a policy with --policy FILE, or --findings to list what it can name")
    files = {"audit": document_path(audit_), **({"policy": policy} if policy else {})}
    try:
        document = read_document(audit_)
        if findings:
            for candidate in document["candidates"]:
                for name, value in facts(document, candidate).items():
                    line = f"{neutral(candidate)}  {name}  {value:.6g}"
                    console.print(Text(line), soft_wrap=True)
        if policy is not None:
            _judge(document, read_policy(policy), files, junit)
    except InputError as error:
        if junit is not None:
            write_junit(junit, [], files, str(error))
        raise


def _judge(document: Any, rules: Any, files: dict[str, Path], junit: Path | None) -> None:
    """Judge and tell; the verdict is the exit code."""
    import datetime
    import os

    from fairsparse.auditing.gate import judge
    from fairsparse.report.gate import (
        add_to_github_summary,
        github_annotations,
        headline,
        write_junit,
    )

    verdicts = judge(document, rules, datetime.date.today())
    if junit is not None:
        write_junit(junit, verdicts, files)
    lines = [headline(verdicts), *map(str, verdicts)]
    if os.environ.get("GITHUB_ACTIONS") == "true":
        add_to_github_summary(verdicts)
        lines += github_annotations(verdicts, files["policy"])
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    if any(verdict.status == "broken" for verdict in verdicts):
        raise typer.Exit(1)


COMMANDS: dict[Callable[..., None], str] = {
    audit: "fairsparse audit --reference dense.csv --candidate pruned=pruned.csv"
    " --groups people.csv --out audit",
    exemplars: "fairsparse exemplars --reference dense0.csv --reference dense1.csv"
    " --candidate pruned0.csv --candidate pruned1.csv --groups people.csv",
    explain: "fairsparse explain runs/my/ballot-0.9-seed0 --out explain",
    gate: "fairsparse gate audit --policy policy.yaml --junit gate.xml",
}
"""Each with its example, in the order of the help."""
