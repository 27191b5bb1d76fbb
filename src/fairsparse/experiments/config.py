"""Configurations: YAML or keyword arguments, checked against the signatures they configure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from fairsparse.data import DATASETS
from fairsparse.experiments.controls import Controls
from fairsparse.experiments.options import choice
from fairsparse.experiments.settings import (
    Choice,
    Options,
    Settings,
    arranged,
    complete,
    names_model,
    plain,
    read_values,
)
from fairsparse.fairness.notions import NotionName
from fairsparse.methods import METHODS
from fairsparse.methods.method import Sparsity
from fairsparse.models import check_trusted, factory
from fairsparse.training import Recipe

DEMO = Path(__file__).with_name("demo.yaml")
"""The configuration of ``fairsparse demo``."""


class RunConfig(Settings):
    """Everything that determines a study: data, model, training, methods, sparsities, seeds."""

    data: Annotated[Options, Field(description="name of a data set and its options")]
    model: Annotated[Options, Field(description="name of a model and its options")]
    training: Recipe = Field(default_factory=Recipe)
    cells: Annotated[NotionName, Field(description="whose statistics are to be equal")] = "class"
    methods: Annotated[tuple[Options, ...], Field(min_length=1)] = ({"name": "ballot"},)
    sparsities: Annotated[tuple[Sparsity, ...], Field(min_length=1)] = (0.9,)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    controls: Controls = ()
    resamples: Annotated[int, Field(ge=100, description="of the bootstrap")] = 2000
    least: Annotated[
        int, Field(ge=1, description="cells with fewer test examples are shown and not tested")
    ] = 30

    def to_dict(self) -> Options:
        """All settings as plain YAML-able values."""
        return plain(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        """All settings as a file that `read_config` takes back."""
        return to_yaml(self.to_dict())


def to_yaml(values: Options) -> str:
    """Write settings in the order in which they are declared, in ASCII.

    Text beyond it is escaped, because YAML takes some of its characters for line breaks.
    """
    return yaml.safe_dump(values, sort_keys=False)


def make_config(values: Any, trust: bool = True) -> RunConfig:
    """Check and complete a configuration.

    Every option of the data set, the model and the methods that is not given gets its default, so
    that the result says all there is to say. An `InputError` names the first setting that is
    unknown or out of range, or a model of code where the values come from a file without `trust`.
    """

    def model(name: str) -> Choice:
        check_trusted(name, "it", trust)
        return choice(factory(name), skip=2)

    return arranged(
        RunConfig,
        values,
        data=lambda name: choice(DATASETS[name]),
        model=model,
        method=_method,
    )


def read_config(path: Path, overrides: Sequence[str] = (), trust: bool = False) -> RunConfig:
    """Read a YAML file, apply overrides, check and complete.

    Overrides are ``training.epochs=5`` or ``methods.0.tolerance=0.02``, with values in YAML.
    A model of code, ``module:factory``, is admitted with `trust` or as an override alone.
    """
    return make_config(read_values(path, overrides), trust or names_model(overrides))


def complete_method(named: Options, where: str) -> Options:
    """Check ``{name, **options}`` of a method and fill in defaults; the sparsity is not one."""
    return complete(named, where, _method)


def _method(name: str) -> Choice:
    return choice(METHODS[name], leave_out=("sparsity",))
