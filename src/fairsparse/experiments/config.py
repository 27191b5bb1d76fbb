"""Configurations: YAML or keyword arguments, checked against the signatures they configure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from fairsparse import yamls
from fairsparse.core import InputError
from fairsparse.data import DATASETS
from fairsparse.experiments.controls import Controls
from fairsparse.experiments.options import Options, checked, complete, plain
from fairsparse.fairness.notions import NotionName
from fairsparse.methods import METHODS
from fairsparse.methods.method import Sparsity
from fairsparse.models import factory
from fairsparse.training import Recipe

DEMO = Path(__file__).with_name("demo.yaml")
"""The configuration of ``fairsparse demo``."""


class RunConfig(BaseModel):
    """Everything that determines a study: data, model, training, methods, sparsities, seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Annotated[Options, Field(description="name of a data set and its options")]
    model: Annotated[Options, Field(description="name of a model and its options")]
    training: Recipe = Field(default_factory=Recipe)
    cells: Annotated[NotionName, Field(description="whose statistics are to be equal")] = "class"
    methods: Annotated[tuple[Options, ...], Field(min_length=1)] = ({"name": "ballot"},)
    sparsities: Annotated[tuple[Sparsity, ...], Field(min_length=1)] = (0.9,)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    controls: Controls = ()
    resamples: Annotated[int, Field(ge=100, description="of the bootstrap")] = 2000

    @field_validator("data", "model", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("methods", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        values = [value] if isinstance(value, (str, dict)) else value
        if not isinstance(values, (list, tuple)):
            return values
        return tuple({"name": v} if isinstance(v, str) else v for v in values)

    @field_validator("sparsities", "seeds", "controls", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (int, float, str)) else value

    @field_validator("sparsities", "seeds", "controls")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        again = [v for i, v in enumerate(values) if v in values[:i]]
        if again:
            raise PydanticCustomError("again", f"{again[0]} is there twice; name each once")
        return values

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


def make_config(values: Any) -> RunConfig:
    """Check and complete a configuration.

    Every option of the data set, the model and the methods that is not given gets its default, so
    that the result says all there is to say. An `InputError` names the first setting that is
    unknown or out of range.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"a configuration is a mapping of settings ({', '.join(RunConfig.model_fields)}),"
            f" got {type(values).__name__}"
        )
    config: RunConfig = checked(RunConfig, values, "")
    data = complete(config.data, "data", lambda name: DATASETS[name])
    model = complete(config.model, "model", factory, skip=2)
    methods = tuple(complete_method(m, f"methods.{i}") for i, m in enumerate(config.methods))
    for i, method in enumerate(methods):
        if method in methods[:i]:
            first = methods.index(method)
            raise InputError(
                f"methods.{i}: '{method['name']}' with the same options as methods.{first}; change"
                " an option, or name it once"
            )
    return config.model_copy(update={"data": data, "model": model, "methods": methods})


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, apply overrides, check and complete.

    Overrides are ``training.epochs=5`` or ``methods.0.tolerance=0.02``, with values in YAML.
    """
    values = yamls.values(yamls.read(path), str(path))
    for override in overrides:
        _override(values, override)
    return make_config(values)


def _override(values: Any, override: str) -> None:
    if isinstance(values, dict) and isinstance(values.get("methods"), (str, dict)):
        values["methods"] = [values["methods"]]
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set takes key=value, got '{override}'; for example training.epochs=5")
    *path, last = key.split(".")
    here = values
    for part in path:
        here = _step(here, part, key)
    value = yamls.values(text, f"--set {key}")
    if isinstance(here, list):
        _step(here, last, key)
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise InputError(f"--set {key}: '{last}' has no place in {here!r}")


def _step(here: Any, part: str, key: str) -> Any:
    if isinstance(here, dict):
        if isinstance(here.get(part), str) and part in ("data", "model"):
            here[part] = {"name": here[part]}
        return here.setdefault(part, {})
    if isinstance(here, list) and part.isdigit() and int(part) < len(here):
        if isinstance(here[int(part)], str):
            here[int(part)] = {"name": here[int(part)]}
        return here[int(part)]
    raise InputError(f"--set {key}: there is no '{part}' to set in {here!r}")


def complete_method(named: Options, where: str) -> Options:
    """Check ``{name, **options}`` of a method and fill in defaults; the sparsity is not one."""
    return complete(named, where, lambda name: METHODS[name], leave_out=("sparsity",))
