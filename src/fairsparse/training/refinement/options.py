"""The options of Ballot's training refinement, which other methods take too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Refinement:
    """How a ticket is trained; every part can be switched off."""

    form: Annotated[
        Literal["weights", "penalty", "margin", "none"],
        Field(description="cell weights on the loss, a penalty on the gap, class margins, nothing"),
    ] = "weights"
    strength: Annotated[float, Field(ge=0, description="of the form, in the first round")] = 0.5
    growth: Annotated[
        float, Field(ge=1, description="of the strength after a round that left accuracy to spend")
    ] = 1.5
    memory: Annotated[
        float, Field(ge=0, lt=1, description="share of the past in the cells' running accuracy")
    ] = 0.5
    distill: Annotated[
        float,
        Field(ge=0, le=1, description="share of the dense network's answers in the loss; 0: off"),
    ] = 0.5
    temperature: Annotated[
        float, Field(gt=0, description="divides logits before they are compared with the answers")
    ] = 2.0
    warmup: Annotated[float, Field(ge=0, description="epochs of rising learning rate")] = 0.5
    plateau: Annotated[
        int, Field(ge=0, description="epochs without progress before the rate is halved; 0: off")
    ] = 5
    rewinds: Annotated[int, Field(ge=0, description="rewinds within one round at most")] = 3
    keep: Annotated[
        Literal["best", "last"], Field(description="epoch kept: best on validation, or the last")
    ] = "best"
    recalibrate: Annotated[int, Field(ge=0, description="batches for BatchNorm; 0: off")] = 20
    offsets: Annotated[
        bool, Field(description="fold class offsets into the last bias at the end")
    ] = False
    tolerance: Annotated[
        float,
        Field(
            ge=0, le=1, description="accuracy a ticket may lose against the most accurate so far"
        ),
    ] = 0.01

    @classmethod
    def off(cls) -> Refinement:
        """Plain training."""
        return cls(
            form="none", distill=0, warmup=0, plateau=0, rewinds=0, keep="last", recalibrate=0
        )

    @property
    def watches(self) -> bool:
        """Whether validation is measured, at each epoch of the later half."""
        return self.keep == "best" or self.plateau > 0 or self.rewinds > 0
