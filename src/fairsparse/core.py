"""The few types that every layer shares; shapes are written here once.

``B`` is a batch, ``N`` a split, ``C`` the classes, ``G`` the groups, ``K`` the cells, ``*f`` the
shape of one input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:  # it takes seconds, and what is refused before it is needed is refused at once
    from torch import Tensor

Inputs: TypeAlias = "Tensor | dict[str, Tensor]"
"""Of a batch: (B, *f), or one such tensor for each name."""

UNKNOWN = -1
"""The code of a group or of a cell that is not known; such examples count in no cell."""


MANY_VALUES = 20
"""From how many values on it is asked what kind of column has them."""
_FEW_ROWS = 5
NOTHING = ("na", "n/a", "nan", "nat", "<na>", "none", "null", "missing", "unknown", "?", "-")
"""Words, folded, that often stand for nothing; only an empty field does unless others are named."""


def tells_apart(values: int, rows: int) -> bool:
    """Whether a column of so many values tells rows apart more than it puts them together.

    >>> tells_apart(400, 400), tells_apart(81, 400), tells_apart(80, 400), tells_apart(20, 20)
    (True, True, False, False)
    """
    return values > MANY_VALUES and rows < _FEW_ROWS * values


def line(name: str, most: int = 28) -> str:
    """A name on one line, printable, at most `most` characters.

    >>> line("a" * 40, 8), line("two\\nlines")
    ('aaaaaaa…', 'two lines')
    """
    text = "".join(c if c.isprintable() else " " for c in name)
    return text if len(text) <= most else text[: most - 1] + "…"


class Shown:
    """Something that says what it is in at most five lines, and in a notebook as a table."""

    def about(self) -> dict[str, str]:
        """At most four facts, by what they are; the first is its name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = [f"{what}: {line(text, 100)}" for what, text in self.about().items()]
        return "\n  ".join([type(self).__name__, *facts])

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{what}</th><td>{escape(t)}</td></tr>" for what, t in self.about().items())
        return f"<table><caption>{type(self).__name__}</caption>{''.join(rows)}</table>"


class InputError(ValueError):
    """What the user gave cannot be used: a bad option, file, data set, model or combination.

    The message is one line: what is wrong, what was got, what is allowed, what to do. The command
    line prints it and exits with 2.
    """


class Diverged(InputError):
    """A loss, or a weight, that is no longer a finite number.

    `step` is that of the end of the last good epoch, or of the loop's start when none was; `state`
    is the network at that step, when an epoch was.
    """

    def __init__(self, message: str, step: int, state: dict[str, Tensor] | None) -> None:
        super().__init__(message)
        self.step, self.state = step, state


class Batch(NamedTuple):
    """A batch of examples.

    Attributes
    ----------
    x : Tensor, shape (B, *f), or dict of Tensor
        Inputs as the model takes them.
    y : Tensor of int64, shape (B,)
        True class, ``0 .. C-1``.
    group : Tensor of int64, shape (B,)
        Group, ``0 .. G-1``, or -1 where it is unknown.
    """

    x: Any
    y: Tensor
    group: Tensor


class Predictions(NamedTuple):
    """What a model said about a split, in the split's order.

    Attributes
    ----------
    logits : Tensor of float32, shape (N, C)
    y : Tensor of int64, shape (N,)
    group : Tensor of int64, shape (N,)
    """

    logits: Tensor
    y: Tensor
    group: Tensor


Scores: TypeAlias = "Mapping[str, Tensor]"
"""Parameter name -> importance, of the parameter's shape; higher is kept."""

LossFn: TypeAlias = "Callable[[Tensor, Batch], Tensor]"
"""(logits (B, C), batch) -> scalar."""
