"""Measurements of fairsparse: each command records what it measures in results/, `tables` writes
RESULTS.md from that, and docs/reproducing.md tells how long they take and what they need.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module

COMMANDS = {
    "tables": ("tables.page", "Write RESULTS.md and its plots from what is recorded."),
    "tune": ("runs", "Tune every method of the study on validation."),
    "study": ("runs", "Train Ballot against dense, magnitude and lottery tickets on real data."),
    "compare": ("runs", "Train every method under one harness, or tune it there."),
    "sets": ("runs", "Train dense, lottery tickets and Ballot on every real set, untuned."),
    "audits": ("audits", "Audit networks of the real sets, and find their exemplars."),
    "speed": ("speed", "Take ratios of cost in training and pruning."),
    "bootstrap": ("bootstrap", "Time the bootstrap intervals, and fairlearn's."),
    "scale": ("scale", "Audit ten million predictions, or CSV files of some GiB."),
    "audit-speed": ("audit_speed", "Time an audit of a million rows against another checkout's."),
    "coverage": ("coverage", "Simulate how often an audit's intervals and alarms are right."),
    "coverage-means": ("coverage_means", "Simulate the intervals of calibration and of heat maps."),
    "cycle": ("cycle", "Take the papers' networks once around at full size."),
    "fuzz": ("fuzz", "Read mutated files of every kind: no traceback, no hang, bounded memory."),
    "memory": ("memory", "Train on more images than are to be held in memory."),
}
"""Name -> the module whose `arguments` and `main` it is, which is imported when asked for."""


def main(words: list[str]) -> None:
    """Run the command that the first word names."""
    parser = ArgumentParser("python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, sentence) in COMMANDS.items():
        command = commands.add_parser(
            name, help=sentence, formatter_class=RawDescriptionHelpFormatter
        )
        command.set_defaults(command=name)
        if name in words[:1]:
            source = import_module(f"benchmarks.{module}")
            command.description = f"{sentence}\n\n{source.__doc__}"
            source.arguments(command)
            command.set_defaults(main=source.main)
    args = parser.parse_args(words)
    args.main(args)


if __name__ == "__main__":
    main(sys.argv[1:])
