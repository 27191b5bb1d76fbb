"""The paragraphs at the top of a run's report: what was done, what it cost, and to whom."""

from __future__ import annotations

from fairsparse.audit import words
from fairsparse.audit.words import SPACE, Record, between, percent, points


def run_sentences(record: Record) -> list[str]:
    """Plain words about one run, a list of sentences."""
    n = record["audit"]["n"]
    if words.is_dense(record):
        return [*_dense(record), _gap(record)]
    accuracy = record["audit"]["metrics"]["accuracy"]
    change = accuracy["change"]
    return [
        _done(record),
        f"On the {n:,} test examples accuracy was {percent(accuracy['reference']['value'])} before"
        f" and is {percent(accuracy['candidate']['value'])} after, a change of"
        f" {_points(change['value'])} (95{SPACE}% interval"
        f" {between(change['low'], change['high'], _points)}).",
        words.doubt(change["low"], change["high"], "whether accuracy changed"),
        *_most_lost(record),
        _gap(record),
        tolerance(record),
    ]


def _points(value: words.Number) -> str:
    return points(value, sign="+")


def _done(record: Record) -> str:
    size, name = record["sparsity"], record["method"]["name"]
    reached = f"{words.sparsity(size['measured'])} of the prunable weights of"
    text = (
        f"The method {name} removed {reached} {words.model_name(record)}, trained on"
        f" {record['data']['name']}: {size['kept']:,} of {size['total']:,} are left."
    )
    if round(size["asked"] * size["total"]) != size["total"] - size["kept"]:
        text += f" Asked for were {words.sparsity(size['asked'])}."
    return text


def _dense(record: Record) -> list[str]:
    n = record["audit"]["n"]
    accuracy = record["audit"]["metrics"]["accuracy"]["candidate"]
    cells = [c for c in words.cells_of(record) if words.defined(c["candidate"])]
    text = [
        f"This is the dense {words.model_name(record)} on {record['data']['name']}, with which"
        " sparse networks are compared; no weight was removed.",
        f"On the {n:,} test examples its accuracy is {percent(accuracy['value'])}"
        f" (95{SPACE}% interval {between(accuracy['low'], accuracy['high'], percent)}).",
    ]
    if cells:
        worst = min(cells, key=lambda c: c["candidate"])
        text.append(
            f"The worst served {worst['kind']} is “{worst['name']}”, with an accuracy of"
            f" {percent(worst['candidate'])} (n{SPACE}={SPACE}{worst['n']:,})."
        )
    return text


def _most_lost(record: Record) -> list[str]:
    cells = [c for c in words.by_drop(words.cells_of(record)) if words.defined(c["drop"])]
    if not cells:
        return []
    cell = cells[0]
    among = words.plural(len(cells), cell["kind"])
    if cell["drop"] <= 0:
        return [f"None of {among} lost accuracy."]
    tell = words.doubt(cell["low"], cell["high"], "whether it lost any")
    if not tell and cell["p_adjusted"] is not None and cell["p_adjusted"] >= 0.05:
        tell = f"As the largest of {among}, such a drop may still be chance."
    return [
        f"Of {among}, “{cell['name']}” lost most: {points(cell['drop'])}, from"
        f" {percent(cell['reference'])} to {percent(cell['candidate'])} (n{SPACE}={SPACE}"
        f"{cell['n']:,}, 95{SPACE}% interval {between(cell['low'], cell['high'], points)},"
        f" adjusted p{SPACE}={SPACE}{words.p_value(cell['p_adjusted'])}).",
        tell,
    ]


def _gap(record: Record) -> str:
    metric = words.NOTIONS[record["cells"]].gap
    found = record["audit"]["metrics"][metric]
    before, after, change = found["reference"], found["candidate"], found["change"]
    form = words.value_form(metric)
    name = f"{words.label(metric)} ({words.summary(metric).rstrip('.')})"
    name = name[0].upper() + name[1:]
    names = record["audit"]["candidate"]["undefined"].get(metric, [])
    if not words.defined(change["value"]):
        return f"{name} is undefined; {words.lacking(None, names)}."
    now = f"{form(after['value'])} (95{SPACE}% interval {between(after['low'], after['high'], form)})"
    if words.is_dense(record):
        return f"{name} is {now}."
    told = {
        "no change": "it did not change",
        "data do not tell": "the data do not tell whether it changed",
        "higher": "it rose",
        "lower": "it fell",
        words.UNDEFINED: "the data do not tell whether it changed",
    }
    verdict = words.reading(metric, change)
    shift = words.change_form(metric)
    return (
        f"{name} was {form(before['value'])} and is {now}; of its change,"
        f" {shift(change['value'])} (95{SPACE}% interval"
        f" {between(change['low'], change['high'], shift)}), we can say:"
        f" {told.get(verdict, 'the sparse network is ' + verdict)}."
    )


def tolerance(record: Record) -> str:
    """Whether the accuracy a method promised to keep on validation was kept."""
    dense, sparse = (record["validation"][role]["accuracy"] for role in ("dense", "sparse"))
    allowed = record["method"]["options"].get("tolerance")
    seen = f"on validation, accuracy went from {percent(dense)} to {percent(sparse)}"
    if record["status"] == "collapsed":
        return f"The network collapsed: {seen}."
    if allowed is None:
        return f"The method promises no limit on the loss of accuracy; {seen}."
    met = "was met" if record["status"] == "feasible" else "was not met"
    return f"The tolerance, a loss of at most {points(allowed)}, {met}: {seen}."
