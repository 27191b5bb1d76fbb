"""Fair Scratch Tickets: sparse networks found inside random ones, no weight of which is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from fairsparse.core import UNKNOWN
from fairsparse.data.task import Split
from fairsparse.fairness.cells import Cells
from fairsparse.masks.criteria import scorers
from fairsparse.masks.structure.paths import check_paths
from fairsparse.methods.fair_scratch.subnet import Granularity, Subnet
from fairsparse.methods.fair_scratch.ticket import Distribution, Source, Ticket, randomize_
from fairsparse.methods.method import METHODS, Facts, Floor, Later, Sparsity, options
from fairsparse.methods.shared.one_stage import OneStage
from fairsparse.training import Round, Run, Trainer, state_of
from fairsparse.training.refinement import Refinement, refine
from fairsparse.training.refinement.terms import Chosen, Cost, Gap, Weight, check_term, make_term


@METHODS.register("fair-scratch")
@options
class FairScratch(OneStage):
    """Learn which weights of a random network to keep, with a fairness term, and train none.

    Every prunable weight has a score; in each step the highest ``|scores|`` of a layer decide which
    of its weights are used, and the loss trains the scores straight through that choice. The
    recipe's optimizer and weight decay are those of the scores, and its rates by `lr_factor`.
    """

    reference: ClassVar[str] = "Tang et al. 2023 (CVPR); Ramanujan et al. 2020, arXiv:1911.13299"
    facts: ClassVar[Facts] = Facts("either", "cells", "2")
    sparsity: Sparsity = 0.9
    init: Annotated[
        Distribution, Field(description="the random weights: one size with random signs, and so on")
    ] = "signed-constant"
    scale_fan: Annotated[
        bool, Field(description="scale each layer's weights by how few of them are kept")
    ] = True
    granularity: Annotated[
        Granularity, Field(description="what one score stands for and keeps or removes")
    ] = "weight"
    rest: Annotated[
        Literal["frozen", "trained"],
        Field(description="layers kept dense, biases, BatchNorm's scale and shift"),
    ] = "frozen"
    lr_factor: Annotated[
        float, Field(gt=0, description="of the recipe's rates, to train the scores at"), Later(1.0)
    ] = 1.0
    term: Chosen = "cells"
    lam: Weight = 0.1
    form: Cost = "logistic"
    gap: Gap = "rng"
    labelled: Annotated[
        float, Field(gt=0, le=1, description="share of training examples whose group is used")
    ] = 1.0
    keep: Annotated[
        Literal["best", "last"],
        Field(description="epoch kept: best on validation, of the later half, or the last"),
    ] = "best"
    recalibrate: Annotated[int, Field(ge=0, description="batches for BatchNorm; 0: off")] = 20
    refinement: Annotated[
        Refinement | None,
        Field(description="train as Ballot does, in place of keep and recalibrate"),
        Later(None),
    ] = None
    scope: Annotated[
        Literal["layerwise", "erk"], Field(description="equal layers, or densities by shape (ERK)")
    ] = "layerwise"
    floor: Floor = 0.005
    prune_first: bool = False
    prune_last: bool = False

    def check_options(self, model: nn.Module, cells: Cells) -> None:
        """Refuse a term that the task's classes or groups do not allow."""
        check_term(self.name, self.term, cells, self.refinement)

    def source(self, seed: int) -> Source:
        """What the random weights of a run with `seed` are drawn from."""
        return Source(seed, self.init, self.scale_fan)

    def make(self, run: Run) -> Round:
        """Search the network, made random, for a subnet; it ends up as its kept random weights."""
        model, trainer = run.model, run.trainer
        model.load_state_dict(run.dense.states[0])
        weights = self.weights(model)
        sizes = self.highest(scorers.magnitude(weights), self.sparsity)
        counts = {name: int(sizes[name].sum()) for name in weights}
        source = self.source(trainer.seed)
        randomize_(model, source, counts)
        subnet = Subnet(model, counts, self.granularity, trainer.generator("scores"))
        train = self._hide_groups(run.data.train, trainer)
        check_paths(model, subnet.masks(), trainer.to_device(train.batch(torch.arange(1))).x)
        search = replace(run, model=subnet, data=replace(run.data, train=train))
        with _frozen(model, None if self.rest == "frozen" else set(counts)):
            trained = self._train(search)
        masks = subnet.masks()
        masks.apply_(model)
        if self.refinement is None:
            trainer.recalibrate(model, run.data.train, self.recalibrate)
        state = state_of(model)
        log = {
            "sparsity": masks.sparsity,
            **trained,
            **run.validated(run.spread(run.data.val)),
            "ticket_bytes": Ticket.of(model, masks, source).nbytes,
            "dense_bytes": sum(t.nbytes for t in state.values()),
        }
        return Round(masks, state, log)

    def _train(self, search: Run) -> dict[str, Any]:
        """Train the scores, up to the epoch that is kept; return what there is to log."""
        trainer, train = search.trainer, search.data.train
        term = make_term(self.term, self.form, self.gap, self.lam, trainer, train)
        loop = search.loop(f"fair-scratch {self.sparsity:g}")
        loop.base_factor = self.lr_factor
        if self.refinement is not None:
            return refine(loop, search, self.refinement, term=term)
        # the best epoch by the objective alone, however accurate
        plain = replace(Refinement.off(), keep=self.keep, tolerance=1.0)
        refine(loop, search, plain, term=term)
        return term.facts() if term is not None else {}

    def _hide_groups(self, train: Split, trainer: Trainer) -> Split:
        """The split with the groups of all but the share `labelled` unknown."""
        if self.labelled == 1:
            return train
        order = torch.randperm(len(train), generator=trainer.generator("labelled"))
        group = train.group.clone()
        group[order[round(self.labelled * len(train)) :]] = UNKNOWN
        return replace(train, group=group)


@contextmanager
def _frozen(model: nn.Module, names: set[str] | None) -> Iterator[None]:
    """Keep the named parameters, or all, from being trained, and give them back as they were."""
    were = {p: p.requires_grad for n, p in model.named_parameters() if names is None or n in names}
    try:
        for p in were:
            p.requires_grad_(False)
        yield
    finally:
        for p, flag in were.items():
            p.requires_grad_(flag)
