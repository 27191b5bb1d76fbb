"""What a published number was made with: the settings that are not the shipped defaults."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.tables.text import Run
from fairsparse.experiments.options import regrouped
from fairsparse.experiments.plan import make_method
from fairsparse.methods import METHODS
from fairsparse.training.refinement import Refinement

HEAD = "settings that are not the defaults"


def settings_text(method: Mapping[str, Any]) -> str:
    """The method's settings that differ from its defaults, or ``defaults``.

    >>> settings_text({"name": "ballot", "retries": 0, "refinement": {"strength": 1.0}})
    '`refinement.strength=1`'
    """
    kind = METHODS[method["name"]]
    shipped = make_method({"name": method["name"]}, 0.9).settings()
    parts = []
    for name, value in regrouped(kind, {k: v for k, v in method.items() if k != "name"}).items():
        if value == _plain(shipped[name]):
            continue
        parts += (
            _of_group(name, value, shipped) if isinstance(value, dict) else [_part(name, value)]
        )
    return ", ".join(parts) or "defaults"


def settings_of(runs: Iterable[Run]) -> str:
    """The same of the method that all these runs have."""
    return settings_text(next(iter(runs))["config"]["methods"][0])


def _of_group(name: str, options: Mapping[str, Any], shipped: Mapping[str, Any]) -> list[str]:
    """A group's own settings; of a refinement that a method has not by default, that it has one."""
    own = shipped[name] if shipped[name] is not None else asdict(Refinement())
    differing = [_part(f"{name}.{k}", v) for k, v in options.items() if v != _plain(own[k])]
    return differing or ([] if shipped[name] is not None else [_part(name, {})])


def _part(name: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else json.dumps(value)
    return f"`{name}={text.strip(chr(34))}`"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
