"""Where commands print: whatever happens to it, the exit status stays what was found."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from fairsparse.neutral import neutral


class Terminal(Console):
    """A console whose reader may go away, or whose disk may be full: the rest is left unsaid."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as a console does; faults of the stream are no faults of the command.

        No name acts here: a line break in one would forge a line of the program.
        """
        try:
            super().print(*map(_neutral, objects), **options)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True
        _silence(self.file)


def _neutral(value: Any) -> Any:
    if isinstance(value, Padding):
        value.renderable = _neutral(value.renderable)
    if isinstance(value, Text) and neutral(value.plain) != value.plain:
        return Text(neutral(value.plain), value.style)
    return neutral(value, keep="\n") if isinstance(value, str) else value


def forgive() -> None:
    """Let a terminal show an escape for what its encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):  # those of tests, and none at all
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def complain(text: str) -> None:
    """Print to stderr, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr)


def settle() -> None:
    """Write out what is still held back, so that it cannot fail after the exit status is set."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            _silence(stream)


def _silence(stream: IO[str]) -> None:
    """Lead a stream to nowhere, with what it holds back."""
    with contextlib.suppress(OSError):  # of a stream that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
