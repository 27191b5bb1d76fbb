"""The tables of corrections after training: what each makes of each network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairsparse.report import phrases
from fairsparse.report.phrases import SPACE, Record
from fairsparse.report.run.tables import Entry, Table, estimate
from fairsparse.report.sweep.sweep import Mean, Sweep
from fairsparse.report.sweep.tables import mean_entry, sparsity_entry


def metrics(record: Record) -> list[str]:
    """The measures that tables of controls show: accuracy, the notion's gap, and common gaps."""
    known = phrases.ordered(record["audit"]["metrics"])
    common = [metric for metric in known if "controls" in phrases.about(metric).listed]
    return list(dict.fromkeys(["accuracy", phrases.notion(record).gap, *common]))


def _name(network: str, control: str, about: dict[str, Any]) -> Entry:
    """The name of a corrected network's row, with what the correction needs below it."""
    needs = ": needs the group of each example at inference"
    note = needs if about["needs_group_at_inference"] else ": free at inference"
    return f"{network} with {control}", f"{about['about'].partition(',')[0]}{note}"


def of_run(record: Record) -> Table:
    """Both networks as they are and after each correction, on the test split."""
    shown = metrics(record)
    networks = ["dense"] if phrases.is_dense(record) else ["dense", "sparse"]
    rows: list[list[Entry]] = []
    for network in networks:
        role = {"dense": "reference", "sparse": "candidate"}[network]
        found = {metric: record["audit"]["metrics"][metric][role] for metric in shown}
        rows.append([network, *(estimate(found[m], phrases.value_form(m)) for m in shown)])
        for control, about in record.get("controls", {}).items():
            changes = about[network]["metrics"]
            values = [estimate(changes[m]["candidate"], phrases.value_form(m)) for m in shown]
            rows.append([_name(network, control, about), *values])
    caption = "Corrections after training, fitted on held-out examples, with 95 % intervals"
    head = ["network", *(phrases.label(metric) for metric in shown)]
    return Table(caption, head, rows if record.get("controls") else [])


def of_sweep(sweep: Sweep, record: Record) -> Table:
    """Every network after each correction: means over seeds on the test split, dense first."""
    shown = metrics(record)
    rows: list[list[Entry]] = []

    def add(runs: Sequence[Record], network: str, label: str, sparsity: Entry) -> None:
        known = [run["controls"] for run in runs if run.get("controls")]
        for control in known[0] if known else ():
            found = [run[control] for run in known if control in run]
            means = [
                Mean.of(one[network]["metrics"][metric]["candidate"]["value"] for one in found)
                for metric in shown
            ]
            name = _name(label, control, found[0])
            entries = [mean_entry(mean, m) for mean, m in zip(means, shown, strict=True)]
            rows.append([name, sparsity, str(len(found)), *entries])

    if sweep.rows:
        add(list(sweep.rows[0].runs.values()), "dense", "dense", "0" + SPACE + "%")
    for row in sweep.rows:
        add(list(row.runs.values()), "sparse", row.label, sparsity_entry(row))
    head = ["network", "sparsity", "seeds", *(phrases.label(metric) for metric in shown)]
    return Table("Corrections after training, on the test split: mean over seeds", head, rows)
