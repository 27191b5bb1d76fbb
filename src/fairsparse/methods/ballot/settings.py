"""Ballot's settings by what they decide: which weights a ticket keeps, and where tickets start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from fairsparse.core import InputError
from fairsparse.fairness.steering.penalties import FairLoss
from fairsparse.training import rewind_step

Importance = Literal["fair", "taylor", "magnitude", "lamp"]
Norm = Literal["rank", "clip", "sym"]
Rule = Literal["exp", "rank"]

_CANDIDATES = (0, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Shares of the schedule among which the first stable start is looked for."""


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Selection:
    """Which weights a ticket keeps: importance, and the conflict of its units."""

    lambda_conflict: Annotated[
        float, Field(description="strength of conflict; negative reverses it, as an ablation")
    ] = 0.5
    importance: Importance = "fair"
    combine: Rule = "exp"
    norm: Norm = "rank"
    exact: Annotated[bool, Field(description="cosines of summed gradients")] = False
    alpha: Annotated[float, Field(ge=0, le=1, description="unit against weight conflict")] = 1.0
    gate: Literal["off", "hard", "soft"] = "off"
    protect: Annotated[
        float, Field(ge=0, lt=1, description="share of units exempt for their accuracy")
    ] = 0.0
    quota: Annotated[
        float,
        Field(ge=0, le=1, description="largest share of a round's removals that conflict decides"),
    ] = 0.5
    mask: Annotated[
        Literal["scored", "random"], Field(description="random: same layer counts, as a control")
    ] = "scored"
    fair_loss: FairLoss = "both"
    points: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(min_length=1, description="shares of the schedule where conflict is measured"),
    ] = (0.25, 0.5, 0.75, 1.0)
    conflict_share: Annotated[
        float, Field(gt=0, le=1, description="images measured a round / training images")
    ] = 0.02

    def steps(self, total: int) -> set[int]:
        """Steps of a schedule of `total` at which conflict is measured."""
        return {round(share * total) for share in self.points}


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Search:
    """Where tickets start, how many rounds there are, and what follows one that missed."""

    rewind: Annotated[
        Literal["weights", "lr"], Field(description="to early weights, or in the schedule alone")
    ] = "weights"
    rewind_at: Annotated[
        Annotated[float, Field(ge=0, lt=1)] | Literal["search"] | None,
        Field(description="share of the schedule; default: stable start; search: look for it"),
    ] = None
    one_shot: Annotated[bool, Field(description="a single round at the target")] = False
    retries: Annotated[
        int,
        Field(ge=0, description="repeats of a round beyond tolerance or budget, conflict halved"),
    ] = 0
    infeasible: Annotated[
        Literal["continue", "stop"],
        Field(description="after two rounds that missed either: go on, or return the last good"),
    ] = "continue"

    @property
    def looks(self) -> bool:
        """Whether the start is looked for."""
        return self.rewind_at == "search"

    def steps(self, total: int) -> set[int]:
        """The step of a schedule of `total` to rewind to, or the candidates for it."""
        if not self.looks:
            return {rewind_step(self.rewind_at, total)}  # type: ignore[arg-type]
        if self.rewind == "lr":
            raise InputError(
                "ballot: rewind_at 'search' looks for weights to go back to, but rewind is"
                " 'lr'; give rewind_at as a share, or use rewind 'weights'"
            )
        return {round(share * total) for share in _CANDIDATES}
