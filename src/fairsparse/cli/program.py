"""The command line: demo | run | search | audit | exemplars | explain | gate | list."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import typer
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fairsparse.cli.audit import COMMANDS, Trust, console, end
from fairsparse.cli.terminal import Terminal, complain, forgive, settle
from fairsparse.neutral import neutral

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Compress neural networks without leaving some classes or groups worse served than others."
    "\n\nExample: [bold]fairsparse demo[/bold]",
)
T = TypeVar("T")

Config = Annotated[Path, typer.Argument(help="YAML file; 'fairsparse list' shows what to name")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="override a setting: key=value, nested keys with dots"),
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad-images", help="leave out images that do not decode, and count them"),
]
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
    # networks this small lose more to a second thread than they gain; set before torch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from fairsparse.experiments.config import DEMO, read_config

    _run(read_config(DEMO), out or Path("runs/demo"))


@app.command(
    epilog="Example: [bold]fairsparse run my.yaml --set training.epochs=5 --out runs/my[/bold]"
)
def run(
    config: Config,
    set_: Set = None,
    skip_bad_images: SkipBad = False,
    trust: Trust = False,
    out: Out = None,
) -> None:
    """Train, prune and audit what a configuration file describes; continues where it stopped."""
    skip = ["data.skip_bad_images=true"] if skip_bad_images else []
    _run(_read(config, [*(set_ or []), *skip], trust), out or Path("runs") / config.stem)


@app.command(
    epilog="Example: [bold]fairsparse search my.yaml --budget excess-drop=0.05 --out runs/search"
    "[/bold]"
)
def search(
    config: Config,
    budget: Annotated[
        str,
        typer.Option(
            help="MEASURE=LIMIT; measures: excess-drop, cell-drop, range, variance (see docs)"
        ),
    ],
    set_: Set = None,
    low: Annotated[float, typer.Option(help="smallest sparsity tried")] = 0.5,
    high: Annotated[float, typer.Option(help="largest sparsity tried")] = 0.98,
    resolution: Annotated[float, typer.Option(help="distance of the sparsities")] = 0.01,
    runs: Annotated[int, typer.Option(help="sparsities tried at most")] = 8,
    trust: Trust = False,
    out: Out = None,
) -> None:
    """Find the largest sparsity within a fairness budget on validation, and test it once.

    Takes one method and one seed. Exit code 1: the smallest sparsity is not within the budget.
    """
    settled = _read(config, set_ or [], trust)
    from fairsparse.cli.summary import candidates, verdict
    from fairsparse.experiments.search import Search
    from fairsparse.experiments.search import search as find
    from fairsparse.experiments.settings import checked
    from fairsparse.fairness.steering.budget import Budget

    settings = {"low": low, "high": high, "resolution": resolution, "runs": runs}
    asked = checked(Search, {"budget": Budget.parse(budget), **settings}, "")
    where = out or Path("runs") / f"{config.stem}-search"
    state = _watched(lambda progress: find(settled, asked, where, progress))
    console.print(candidates(state))
    for sentence in verdict(state):
        console.print(sentence, highlight=False, markup=False)
    if state["chosen"] is None:
        raise typer.Exit(1)
    end(where / state["confirmation"]["run"])


for command, example in COMMANDS.items():
    app.command(epilog=f"Example: [bold]{example}[/bold]")(command)


@app.command("list", epilog="Example: [bold]fairsparse list methods[/bold]")
def list_(
    what: Annotated[
        Literal["methods", "datasets", "models", "metrics", "notions"],
        typer.Argument(help="what to list"),
    ],
    options: Annotated[bool, typer.Option("--options", help="also list every option")] = False,
) -> None:
    """List what a configuration can name."""
    from fairsparse.experiments.outline import rows

    for name, summary, details, settings in rows(what):
        console.print(Text(name, style="bold"))
        console.print(Padding(Text(summary), (0, 0, 0, 2)))
        if details:
            console.print(Padding(Text(details, style="dim"), (0, 0, 0, 2)))
        if options and settings:
            table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
            for name, default, text in settings:
                table.add_row(Text(name), Text(default), Text(text, style="dim"))
            console.print(Padding(table, (0, 0, 1, 4)))


def _read(path: Path, overrides: list[str], trust: bool) -> Any:
    """A configuration; what is wrong with it by itself is told before anything is imported."""
    from fairsparse.experiments.outline import precheck
    from fairsparse.experiments.settings import names_model, read_values

    values = read_values(path, overrides)
    precheck(values)
    from fairsparse.experiments.config import make_config

    return make_config(values, trust or names_model(overrides))


def _run(config: Any, out: Path) -> None:
    from fairsparse.cli.summary import results
    from fairsparse.experiments.run import run as run_all

    records = _watched(lambda progress: run_all(config, out, progress))
    console.print(results(records, console))
    end(out)


def _watched(work: Callable[[Any], T]) -> T:
    """Do what takes long under a progress bar."""
    try:
        with _Bar() as bar:
            return work(bar.show)
    except KeyboardInterrupt:
        _stop("interrupted; the same command continues", 130)


class _Bar(Progress):
    """A progress bar per stage: loss, accuracy, and the worst cell's accuracy."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=Terminal(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self.stages: dict[str, Any] = {}

    def show(self, stage: str, step: int, total: int, log: Mapping[str, Any]) -> None:
        """Show the figures of one stage; a stage that is done stays on the screen."""
        figures = f"loss {log['loss']:.3f}  accuracy {log['accuracy']:.3f}"
        if log["worst"] is not None:
            figures += f"  worst {log['worst_cell']} {log['worst']:.3f}"
        figures = neutral(figures)
        if stage not in self.stages or self.tasks[self.stages[stage]].finished:
            self.stages[stage] = self.add_task(stage, total=total, figures=figures)
        self.update(self.stages[stage], completed=step, figures=figures)


def main() -> None:
    """Run the program; what cannot be done is exit code 2, for which bad input has one line.

    Exit codes 0 and 1 are a command's verdict alone, whatever becomes of stdout.
    """
    forgive()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except SystemExit as end:  # rich's is 1, where the reader of help has gone
        code = 2 if end.code == 1 else end.code
    except typer.Abort:  # what typer makes of an interrupt
        _stop("interrupted", 130)
    except Exception as error:
        message = _complaint(error)
        if message is None:  # a fault of the program
            complain(traceback.format_exc())
            message = f"{type(error).__name__}: this is a fault of fairsparse; please report it"
        _stop(message, 2)
    settle()
    sys.exit(code)


def _stop(message: str, code: int) -> NoReturn:
    complain(f"fairsparse: {neutral(' '.join(message.split()))}")
    settle()
    sys.exit(code)


def _complaint(error: Exception) -> str | None:
    """What to tell the user about an error of theirs; None for one of the program."""
    usage = getattr(error, "format_message", None)
    if usage is not None:  # typer's own errors, whichever click they come from
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "fairsparse"
        return f"{usage().rstrip('.')}; see '{command} --help'"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    from fairsparse.core import InputError

    return str(error) if isinstance(error, InputError) else None
