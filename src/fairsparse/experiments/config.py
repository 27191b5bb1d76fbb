"""Configurations: YAML or keyword arguments, checked against the signatures they configure."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from fairsparse.data import DATASETS
from fairsparse.fairness.cells import Notion
from fairsparse.methods import METHODS, Method
from fairsparse.methods.base import Sparsity
from fairsparse.models import factory
from fairsparse.registry import nearest
from fairsparse.training import Recipe
from fairsparse.types import InputError

Options = dict[str, Any]


class RunConfig(BaseModel):
    """Everything that determines a study: data, model, training, methods, sparsities, seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Annotated[Options, Field(description="name of a data set and its options")]
    model: Annotated[Options, Field(description="name of a model and its options")]
    training: Recipe = Field(default_factory=Recipe)
    cells: Annotated[Notion, Field(description="whose statistics are to be equal")] = "class"
    methods: Annotated[tuple[Options, ...], Field(min_length=1)] = ({"name": "ballot"},)
    sparsities: Annotated[tuple[Sparsity, ...], Field(min_length=1)] = (0.9,)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
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

    @field_validator("sparsities", "seeds", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (int, float)) else value

    def to_dict(self) -> Options:
        """All settings as plain YAML-able values."""
        return plain(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def make_config(values: Any) -> RunConfig:
    """Check and complete a configuration.

    Every option of the data set, the model and the methods that is not given gets its default, so
    that the result says all there is to say.

    Raises
    ------
    InputError
        Naming the first setting that is unknown or out of range.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"a configuration is a mapping of settings ({', '.join(RunConfig.model_fields)}),"
            f" got {type(values).__name__}"
        )
    config = check_config(values)
    data = complete(config.data, "data", lambda name: DATASETS[name])
    model = complete(config.model, "model", factory, skip=2)
    methods = tuple(
        complete(m, f"methods.{i}", lambda name: METHODS[name], leave_out=("sparsity",))
        for i, m in enumerate(config.methods)
    )
    return config.model_copy(update={"data": data, "model": model, "methods": methods})


def check_config(values: Mapping[str, Any]) -> RunConfig:
    """Check types and ranges, without looking up what the names stand for."""
    config: RunConfig = _checked(RunConfig, values, "")
    return config


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, apply ``key=value`` overrides, check and complete.

    Parameters
    ----------
    path : Path
    overrides : sequence of str
        ``training.epochs=5``, ``methods.0.tolerance=0.02``; values are YAML.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"{path}: cannot read the configuration ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a configuration is YAML in UTF-8") from None
    values = _yaml(text, str(path))
    for override in overrides:
        _override(values, override)
    return make_config(values)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"{where}: not valid YAML{line} ({problem})") from None


def _override(values: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set takes key=value, got '{override}'; for example training.epochs=5")
    *path, last = key.split(".")
    here = values
    for part in path:
        here = _step(here, part, key)
    value = _yaml(text, f"--set {key}")
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


def complete(
    given: Options,
    where: str,
    lookup: Callable[[str], Callable[..., Any]],
    skip: int = 0,
    leave_out: Sequence[str] = (),
) -> Options:
    """Check ``{name, **options}`` against the signature of what it names and fill in defaults."""
    if not isinstance(given.get("name"), str):
        raise InputError(f"{where}: needs a name, got {given!r}")
    name = given["name"]
    try:
        target = lookup(name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    rest = {key: value for key, value in given.items() if key != "name"}
    for key in leave_out:
        if key in rest:
            raise InputError(f"{where}.{key}: set it for all methods, under 'sparsities', not here")
    model = options_model(target, skip, leave_out)
    if model is None:
        return given
    return {"name": name, **plain(_checked(model, rest, where).model_dump(mode="json"))}


def options_model(
    target: Callable[..., Any], skip: int = 0, leave_out: Sequence[str] = ()
) -> type[BaseModel] | None:
    """A pydantic model of the keyword options of a function or of a method's fields.

    None when `target` takes arbitrary keywords, as a user's own factory may.
    """
    fields: dict[str, Any] = {}
    hints = get_type_hints(target, include_extras=True)
    parameters = list(inspect.signature(target).parameters.values())
    defaults = {}
    if isinstance(target, type) and issubclass(target, Method):
        defaults = {f.name: f for f in dataclasses.fields(target)}  # type: ignore[arg-type]
    for parameter in parameters[skip:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            return None
        if parameter.name in leave_out:
            continue
        default: Any = parameter.default
        if parameter.name in defaults:
            default = getattr(target, parameter.name, None)
            factory_ = defaults[parameter.name].default_factory
            if factory_ is not dataclasses.MISSING:
                default = factory_()
        hint = hints.get(parameter.name, Any)
        fields[parameter.name] = (hint, ... if default is inspect.Parameter.empty else default)
    return create_model(
        getattr(target, "__name__", "Options"),
        __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True),
        **fields,
    )


def _checked(model: type[Any], values: Mapping[str, Any], where: str) -> Any:
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(_first(error, model, where)) from None
    except TypeError as error:
        raise InputError(f"{where or 'configuration'}: {error}") from None


def _first(error: ValidationError, model: type[BaseModel], where: str) -> str:
    problem = error.errors()[0]
    loc = [str(part) for part in problem["loc"]]
    key = ".".join([where, *loc] if where else loc)
    kind, got = problem["type"], problem.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known(model, loc[:-1])
        hint = nearest(loc[-1], known) or _suffix(loc[-1], known)
        return f"{key}: unknown setting{hint}; known: {', '.join(sorted(known))}"
    if kind in ("missing", "missing_argument"):
        return f"{key}: missing; give it a value"
    return f"{key}: {problem['msg']}, got {got!r}"


def _suffix(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _known(model: Any, path: Sequence[str]) -> list[str]:
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        annotation = field.annotation if field is not None else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if dataclasses.is_dataclass(c)]
        if not nested:
            return []
        model = nested[0]
    if dataclasses.is_dataclass(model):
        return [f.name for f in dataclasses.fields(model)]
    return list(model.model_fields)


def plain(value: Any) -> Any:
    """Turn tuples, paths and dataclasses into what YAML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
