"""The command line: demo | run | list."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Compress neural networks without leaving some classes or groups worse served than others."
    "\n\nExample: [bold]fairsparse demo[/bold]",
)
console = Console()

Out = Annotated[
    Path | None, typer.Option("--out", help="directory of the run; continued if it holds this run")
]


def _version(asked: bool) -> None:
    if asked:
        from fairsparse._version import __version__

        console.print(f"fairsparse {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options of the program itself."""


@app.command(epilog="Example: [bold]fairsparse demo --out runs/demo[/bold]")
def demo(out: Out = None) -> None:
    """Prune a small network on long-tailed digits by three methods and compare who lost."""
    from fairsparse.experiments.config import read_config
    from fairsparse.experiments.demo import DEMO

    _run(read_config(DEMO), out or Path("runs/demo"))


@app.command(
    epilog="Example: [bold]fairsparse run my.yaml --set training.epochs=5 --out runs/my[/bold]"
)
def run(
    config: Annotated[Path, typer.Argument(help="YAML file; 'fairsparse list' shows what to name")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="override a setting: key=value, nested keys with dots"),
    ] = None,
    out: Out = None,
) -> None:
    """Train, prune and audit what a configuration file describes; continues where it stopped."""
    from fairsparse.experiments.config import read_config

    _run(read_config(config, set_ or []), out or Path("runs") / config.stem)


@app.command("list", epilog="Example: [bold]fairsparse list methods[/bold]")
def list_(
    what: Annotated[
        Literal["methods", "datasets", "models", "metrics"], typer.Argument(help="what to list")
    ],
    options: Annotated[bool, typer.Option("--options", help="also list every option")] = False,
) -> None:
    """List what a configuration can name."""
    from fairsparse.experiments.catalog import rows

    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("name", "what it is"):
        table.add_column(column, overflow="fold")
    for row in rows(what):
        table.add_row(row.name, row.summary)
        if row.details:
            table.add_row("", f"[dim]{row.details}[/dim]")
        for name, value, text in row.options if options else ():
            table.add_row("", f"  [bold]{name}[/bold] = {value}  [dim]{text}[/dim]")
    console.print(table)


def _run(config: Any, out: Path) -> None:
    from fairsparse.experiments.run import run as run_all

    with _Bar() as bar:
        records = run_all(config, out, bar.update)
    console.print(results(records))
    report = (out / "report.html").resolve()
    console.print(f"Report: {report}", soft_wrap=True, highlight=False)


class _Bar:
    """A progress bar per stage: loss, accuracy, and the worst cell's accuracy."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, stage: str, step: int, total: int, log: Mapping[str, Any]) -> None:
        """Show the figures of one stage; a stage that is done stays on the screen."""
        figures = (
            f"loss {log['loss']:.3f}  accuracy {log['accuracy']:.3f}"
            f"  worst {log['worst_cell']} {log['worst']:.3f}"
        )
        if stage not in self.tasks or self.progress.tasks[self.tasks[stage]].finished:
            self.tasks[stage] = self.progress.add_task(stage, total=total, figures=figures)
        self.progress.update(self.tasks[stage], completed=step, figures=figures)


COLUMNS = (
    ("accuracy", "accuracy", 100, 1),
    ("cwv", "CWV x1e4", 1e4, 1),
    ("mcd", "MCD", 100, 1),
    ("worst_class_accuracy", "worst class", 100, 1),
    ("accuracy_gap", "group gap", 100, 1),
    ("equalized_odds", "eq. odds", 100, 1),
)


def results(records: list[dict[str, Any]]) -> Table:
    """The table a run ends with: one row a run, 95 % intervals over test examples."""
    table = Table(title="Test split, 95 % bootstrap intervals in brackets", title_justify="left")
    shown = [c for c in COLUMNS if c[0] in records[0]["audit"]["metrics"]]
    table.add_column("method", no_wrap=True)
    table.add_column("sparsity", justify="right")
    table.add_column("seed", justify="right")
    for _, title, _, _ in shown:
        table.add_column(title, justify="right")
    for record in records:
        cells = []
        for name, _, scale, digits in shown:
            estimate = record["audit"]["metrics"][name]["candidate"]
            cells.append(_interval(estimate, scale, digits))
        kept = record["sparsity"]
        table.add_row(
            record["method"]["name"], f"{kept['measured']:.3g}", str(record["seed"]), *cells
        )
    return table


def _interval(estimate: Mapping[str, float | None], scale: float, digits: int) -> str:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or math.isnan(value):
        return "undefined"
    text = f"{value * scale:.{digits}f}"
    if low is None or high is None:
        return text
    return f"{text} [dim]\\[{low * scale:.{digits}f}, {high * scale:.{digits}f}][/dim]"


def main() -> None:
    """Run the program; bad input is one line on stderr and exit code 2."""
    from fairsparse.types import InputError

    try:
        app()
    except InputError as error:
        message = " ".join(str(error).split())
        print(f"fairsparse: {message}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"fairsparse: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("fairsparse: interrupted; the same command continues", file=sys.stderr)
        sys.stdout.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
