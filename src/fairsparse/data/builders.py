"""The registry of data sets and the option types their signatures share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from fairsparse.data.task import Task
from fairsparse.registry import Registry

DATASETS: Registry[Callable[..., Task]] = Registry("data set")

Share = Annotated[float, Field(gt=0, lt=0.5)]
"""A share of the official training split, in (0, 0.5)."""
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


def terms(builder: Callable[..., Task]) -> str:
    """Return the paragraph of a builder's docstring that begins with ``Terms:``, on one line.

    A data set states its terms once; this carries them from the docstring into `Task.notes`.

    >>> def builder():
    ...     '''A set.
    ...
    ...     Terms: CC0; no groups
    ...     are recorded.
    ...     '''
    >>> terms(builder)
    'CC0; no groups are recorded.'
    """
    for paragraph in (inspect.getdoc(builder) or "").split("\n\n"):
        if paragraph.startswith("Terms:"):
            return " ".join(paragraph.removeprefix("Terms:").split())
    return ""
