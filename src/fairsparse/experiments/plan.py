"""What a configuration asks for: its runs, with the task, network and method of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from fairsparse.checkpoint import Stages
from fairsparse.core import InputError
from fairsparse.data import DATASETS, Task
from fairsparse.data.files.tokens import Tokens
from fairsparse.experiments.config import RunConfig
from fairsparse.experiments.options import regrouped
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.corrections import check_thresholds
from fairsparse.methods import METHODS, Method
from fairsparse.models import adapted, build, check_outputs
from fairsparse.models.language import TextNetwork
from fairsparse.training import Progress, Trainer, augment
from fairsparse.training.precision import settled


@dataclass(frozen=True)
class Job:
    """One method at one sparsity with one seed."""

    method: dict[str, Any]
    sparsity: float
    seed: int
    label: str

    @property
    def name(self) -> str:
        if self.method["name"] == "dense":
            return f"dense-seed{self.seed}"
        return f"{self.label}-{self.sparsity}-seed{self.seed}"


def plan(config: RunConfig) -> list[Job]:
    """The runs a configuration asks for, seed by seed; dense once a seed."""
    names = [m["name"] for m in config.methods]
    jobs = []
    for seed in config.seeds:
        for i, method in enumerate(config.methods):
            again = names[:i].count(method["name"])
            label = method["name"] + (f"-{again + 1}" if again else "")
            dense = method["name"] == "dense"
            for sparsity in (0.0,) if dense else config.sparsities:
                jobs.append(Job(method, sparsity, seed, label))
    return jobs


def single(config: RunConfig, job: Job) -> RunConfig:
    """The configuration of one of the runs alone."""
    return config.model_copy(
        update={"methods": (job.method,), "sparsities": (job.sparsity,), "seeds": (job.seed,)}
    )


@dataclass(frozen=True)
class Setup:
    """All that a run needs besides its network; `config` is of one method, sparsity and seed.

    `siblings` are methods that will take the same dense network from `stages`: the states that they
    need are stored with it, so that it is trained once.
    """

    config: RunConfig
    task: Task
    stages: Stages = field(default_factory=lambda: Stages(None))
    progress: Progress | None = None
    siblings: Sequence[Method] = ()

    @property
    def seed(self) -> int:
        """Of data order, augmentation and every draw."""
        return self.config.seeds[0]

    @cached_property
    def method(self) -> Method:
        """What prunes."""
        return make_method(self.config.methods[0], self.config.sparsities[0])

    @cached_property
    def cells(self) -> Cells:
        """Whose statistics are to be equal."""
        return Cells(self.config.cells, self.task.class_names, self.task.group_names)


def with_precision(config: RunConfig, there: Any = None) -> RunConfig:
    """The configuration with its precision settled, as it was in the one that is already there."""
    training = there.get("training") if isinstance(there, Mapping) else None
    before = training.get("precision") if isinstance(training, Mapping) else None
    recipe = settled(config.training, Accelerator().device, before)
    return config.model_copy(update={"training": recipe})


def make_task(config: RunConfig) -> Task:
    """Build the task a configuration names."""
    return DATASETS[config.data["name"]](**options(config.data))


def unwritten(config: RunConfig) -> RunConfig:
    """The same without folders to write to, for one that came with a foreign file."""
    data = {**config.data}
    if data.get("cache") is not None:
        data |= {"cache": None, "stream": True}
    if data.get("save_tokenizer") is not None:
        data["save_tokenizer"] = None
    return config.model_copy(update={"data": data})


def make_model(config: RunConfig, task: Task, seed: int) -> nn.Module:
    """Build the model a configuration names, with the initial weights of `seed`."""
    settings = options(config.model)
    model = build(config.model["name"], task.input_shape, task.n_classes, seed=seed, **settings)
    return adapted(model, task.train.batch(torch.tensor([0, 0])).x)


def make_method(named: dict[str, Any], sparsity: float) -> Method:
    """Build a method from ``{name, **options}``."""
    if named["name"] == "dense":
        sparsity = 0.0
    method = METHODS[named["name"]]
    return method(sparsity=sparsity, **regrouped(method, options(named)))  # type: ignore[call-arg]


def options(named: dict[str, Any]) -> dict[str, Any]:
    """Those of ``{name, **options}``."""
    return {key: value for key, value in named.items() if key != "name"}


def preflight(config: RunConfig, task: Task, jobs: Sequence[Job]) -> None:
    """Raise for whatever would make a run fail later: model, cells, sparsities."""
    model = make_model(config, task, config.seeds[0])
    for job in jobs:
        check_fit(model, Setup(single(config, job), task))


def check_fit(model: nn.Module, setup: Setup) -> None:
    """Raise `InputError` unless model, task, method, cells and recipe can work together."""
    task, cells, recipe = setup.task, setup.cells, setup.config.training
    if "thresholds" in setup.config.controls:
        check_thresholds(cells, (task.cal.y, task.cal.group))
    raw = task.train.raw(torch.tensor([0, 0]))
    check_tokens(model, task)
    check_outputs(model, task.train.prepare(raw), task.n_classes)
    if recipe.augment:
        augment(raw, recipe.augment, torch.Generator())
    for name in ("cal", "val"):
        split = getattr(task, name)
        counts = cells.counts(split.y, split.group)
        if bool((counts == 0).any()):
            empty = cells.names[int((counts == 0).nonzero()[0])]
            raise InputError(
                f"{task.name}: cell '{empty}' has no examples in the {name} split; use a larger"
                f" {name} share, or coarser cells than '{cells.notion}'"
            )
    setup.method.snapshots(Trainer(recipe, cells).total_steps(task.train))
    setup.method.weights(model)  # raises where nothing can be pruned
    setup.method.check(model, cells)


def check_tokens(model: nn.Module, task: Task) -> None:
    """Raise `InputError` where texts have more tokens than the network knows or can take."""
    if not isinstance(task.train.transform, Tokens) or not isinstance(model, TextNetwork):
        return
    size, length = task.train.transform.vocabulary, task.input_shape[0]
    if size > model.vocabulary:
        raise InputError(
            f"{task.name}: the vocabulary has {size} tokens, and the network's embedding"
            f" {model.vocabulary}; set vocab_size of the data or of the model, or give the"
            " network's own tokenizer"
        )
    if model.length is not None and length > model.length:
        raise InputError(
            f"{task.name}: texts have up to {length} tokens, and the network takes {model.length};"
            " lower max_length of the data"
        )
