"""Every registry of the package, wherever it lives, and what its contract needs of each entry."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import fairsparse
from fairsparse.registry import Registry

T = TypeVar("T")


@cache
def registries() -> dict[str, Registry[Any]]:
    """Kind -> registry, of all modules of the package."""
    named: dict[str, Registry[Any]] = {}
    for module in pkgutil.walk_packages(fairsparse.__path__, "fairsparse."):
        if not module.name.endswith("__main__"):
            values = vars(importlib.import_module(module.name)).values()
            named |= {value.kind: value for value in values if isinstance(value, Registry)}
    return named


def promises(kind: str, name: str, settings: Mapping[str, T], file: str) -> T:
    """What the contract needs to know of an entry; without it the test fails."""
    assert name in settings, (
        f"{kind} '{name}' is registered and has no settings for its contract: add some to the table"
        f" in tests/contract/{file}"
    )
    return settings[name]


def check_settings(kind: str, names: Iterable[str], settings: Mapping[str, Any], file: str) -> None:
    """Fail unless each of the registered `names` has settings, and nothing else has."""
    for name in names:
        promises(kind, name, settings, file)
    stale = ", ".join(sorted(set(settings) - set(names)))
    assert not stale, f"no {kind} is called {stale}: remove it from the table in {file}"
