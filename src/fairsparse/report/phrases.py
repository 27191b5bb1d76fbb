"""How reports say things: numbers with their uncertainty, and sentences that claim no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from os.path import commonprefix
from typing import Any, TypeAlias

import numpy as np

from fairsparse.core import line
from fairsparse.fairness.inference.calibration import CALIBRATIONS
from fairsparse.fairness.measure.counts import cell_names
from fairsparse.fairness.measure.degradations import DEGRADATIONS
from fairsparse.fairness.measure.metric import RATIO, Metric
from fairsparse.fairness.measure.metrics import METRICS
from fairsparse.fairness.notions import NOTIONS, Notion
from fairsparse.record import Record
from fairsparse.registry import listing

Number: TypeAlias = float | None
Estimate: TypeAlias = Mapping[str, Any]
"""A ``value`` with its interval, ``low`` to ``high``."""

UNDEFINED, DASH = "undefined", "–"
SPACE = "\N{NO-BREAK SPACE}"
_REGISTRIES = (METRICS, DEGRADATIONS, CALIBRATIONS)


def defined(value: Number) -> bool:
    """Whether there is a number: records hold None where a rate is undefined."""
    return value is not None and math.isfinite(value)


def number(value: Number, spec: str, unit: str = "", scale: float = 1) -> str:
    """Format `scale` times a number, with a typographic minus sign, or say that it is undefined.

    >>> number(-0.5, ".1f"), number(None, ".1f")
    ('−0.5', 'undefined')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    text = format(scale * value, spec)
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # a rounded zero has no sign
    return text.replace("-", "\N{MINUS SIGN}") + (SPACE + unit if unit else "")


def percent(value: Number, digits: int = 2) -> str:
    """A fraction in per cent."""
    return number(value, f".{digits}f", "%", 100)


def points(value: Number, digits: int = 2) -> str:
    """A difference of fractions in percentage points."""
    return number(value, f".{digits}f", "points", 100)


def signed(value: Number) -> str:
    """A change in percentage points, with its sign."""
    return number(value, "+.2f", "points", 100)


def fraction(value: Number) -> str:
    """A variance; five decimals show four digits of the usual ones."""
    return number(value, ".5f")


def sparsity(value: float) -> str:
    """A sparsity with as many digits as it has, at most two after the point.

    >>> sparsity(0.9985), sparsity(0.90001)
    ('99.85\xa0%', '90\xa0%')
    """
    return number(100 * round(value, 4), ".5g", "%")


def p_value(p: Number) -> str:
    """A p-value to three decimals; a dash where there was no test."""
    if p is None or p != p:
        return DASH
    return f"<{SPACE}0.001" if p < 0.001 else number(p, ".3f")


def between(low: Number, high: Number, form: Callable[[Number], str]) -> str:
    """An interval's ends, or that there is no interval."""
    if not (defined(low) and defined(high)):
        return f"interval {UNDEFINED}"
    return f"{form(low).split(SPACE)[0]} to {form(high)}"


def interval(one: Estimate, form: Callable[[Number], str]) -> str:
    """A 95 % interval as a text mentions it."""
    bounds = between(one["low"], one["high"], form)
    return bounds if UNDEFINED in bounds else f"95{SPACE}% interval {bounds}"


def bounded(one: Estimate, form: Callable[[Number], str]) -> str:
    """A value with its interval as a text mentions it."""
    return f"{form(one['value'])} ({interval(one, form)})"


def made_by(ends: Mapping[str, Any] | None) -> str:
    """Which cells make a range or an extreme, as a clause; empty where it is neither.

    >>> few = {"lowest": "a", "lowest_n": 6, "highest": "b", "highest_n": 1000, "few": True}
    >>> made_by(few).replace(SPACE, " ")
    'from “a” (n = 6) to “b” (n = 1,000), where few make it'
    """
    if not ends:
        return ""
    named = [
        f"“{ends[end]}” (n{SPACE}={SPACE}{ends[f'{end}_n']:,})"
        for end in ("lowest", "highest")
        if isinstance(ends[end], str)
    ]
    few = ", where few make it" * bool(ends["few"])
    return (f"from {' to '.join(named)}" if len(named) > 1 else f"of {named[0]}") + few


def about(name: str) -> Metric:
    """What reports say of a metric; of one that is not registered, as in an old record, its name.

    >>> about("mcd").label, about("of_old").label
    ('range over classes (MCD)', 'of old')
    """
    for registry in _REGISTRIES:
        if name in registry:
            return registry[name]
    label = name.replace("_", " ")
    return Metric(lambda: np.array(np.nan), name, label, "lower", "class", unit=RATIO)


def label(name: str) -> str:
    """A metric's name in reports."""
    return about(name).label


def value_form(name: str) -> Callable[[Number], str]:
    """How values of a metric are shown."""
    unit = about(name).unit
    return lambda value: number(value, f".{unit.digits}f", unit.value, unit.scale)


def change_form(name: str) -> Callable[[Number], str]:
    """How changes of a metric are shown."""
    unit = about(name).unit
    return lambda value: number(value, f"+.{unit.digits}f", unit.change, unit.scale)


def ordered(names: Iterable[str]) -> list[str]:
    """Metrics in the order of reports; those that are not registered come last."""
    places = [name for registry in _REGISTRIES for name in registry]
    return sorted(names, key=lambda m: (places.index(m) if m in places else len(places), m))


def reading(name: str, change: Estimate) -> str:
    """What the interval of a change tells: less or more unequal, higher or lower, or nothing."""
    value, low, high = change["value"], change["low"], change["high"]
    if value is None:
        return UNDEFINED
    if value == low == high == 0:
        return "no change"
    if low is None or high is None or low <= 0 <= high:
        return "data do not tell"
    if about(name).better == "higher":
        return "higher" if value > 0 else "lower"
    return "more unequal" if value > 0 else "less unequal"


def lines(names: Sequence[str], most: int = 28) -> list[str]:
    """The same of several names; of those that begin alike it leaves out what they have in common.

    >>> lines(["a" * 40 + "1", "a" * 40 + "2", "b"], 8)
    ['aa…1', 'aa…2', 'b']
    """
    short = [line(name, most) for name in names]
    for text in {text for text in short if text.endswith("…")}:
        alike = [i for i, one in enumerate(short) if one == text]
        if len({names[i] for i in alike}) == 1:
            continue
        same = commonprefix([names[i] for i in alike])  # noqa: RUF071
        head = same[: most // 4]
        rest = lines([names[i][len(same) :] for i in alike], max(most - len(head) - 1, 8))
        for i, end in zip(alike, rest, strict=True):
            short[i] = f"{line(head)}…{end}"
    return short


def sentence(clause: str) -> str:
    """A clause as a sentence begins.

    >>> sentence("one group lost")
    'One group lost'
    """
    return clause[:1].upper() + clause[1:]


def lacking(names: Sequence[str]) -> str:
    """Which cells leave a value undefined."""
    return f"{UNDEFINED}, for there are too few examples of: {listing(names)}"


def plural(n: int, what: str) -> str:
    """A count with its noun.

    >>> plural(2, "class"), plural(1, "seed"), plural(3, "class within a group")
    ('2 classes', '1 seed', '3 classes within groups')
    """
    head, within, _ = what.partition(" within a ")
    ending = "es" if head.endswith("s") else "s"
    return f"{n:,} {what if n == 1 else head + ending + (within and ' within groups')}"


def noun(kind: str) -> str:
    """What cells of a kind are, in a sentence; crossings of attributes are groups, too.

    >>> noun("class x sex"), noun("sex")
    ('class within a group', 'group')
    """
    if kind == "class":
        return kind
    return "class within a group" if kind.startswith("class x ") else "group"


def size(numbers: Iterable[int]) -> str:
    """A number of examples, as a range where seeds differ.

    >>> size({231, 245}), size({7})
    ('231–245', '7')
    """
    every = sorted(numbers)
    return "–".join(f"{n:,}" for n in dict.fromkeys([every[0], every[-1]]))


def doubt(low: Number, high: Number, what: str) -> str:
    """A sentence for an interval that includes zero; empty for one that does not."""
    if low is None or high is None:
        return f"The interval is undefined, so the data do not tell {what}."
    return f"The interval includes zero: the data do not tell {what}." if low <= 0 <= high else ""


def run_name(record: Record) -> str:
    """The name under which a run is linked: its ``run``, or method, sparsity and seed."""
    method, asked = record.method.name, record.sparsity.asked
    return str(record.get("run", f"{method}-{asked:g}-seed{record.seed}"))


def model_name(record: Record) -> str:
    """A model's name; one that was passed in from Python is known by its class."""
    return record.model.name or record.model.class_


def is_dense(record: Record) -> bool:
    """Whether nothing was removed, so that there is nothing to compare."""
    return record.sparsity.kept == record.sparsity.total


def notion(record: Record) -> Notion:
    """The record's notion of equality."""
    return NOTIONS[record.cells]


def equality(record: Record) -> str:
    """What is to be equal, as a clause."""
    about = notion(record)
    return about.sentence + "; the cells below show accuracy beside it" * about.of_predictions


def cells_of(record: Record) -> Sequence[Mapping[str, Any]]:
    """The cells that the record's notion of equality compares."""
    about, data = notion(record), record.data
    cells = [cell for cell in record.audit.cells if cell["kind"] == about.audited_kind]
    if about.of_class is None:
        return cells
    names = cell_names(about.audited_kind, [data.class_names[about.of_class]], data.group_names)
    return [cell for cell in cells if cell["name"] in names]
