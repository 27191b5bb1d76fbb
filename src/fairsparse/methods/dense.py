"""The dense network, unchanged: what every sparse one is compared with."""

from __future__ import annotations

from typing import ClassVar

from fairsparse.masks.maskset import MaskSet
from fairsparse.methods.method import METHODS, Facts, Method, Outcome, Sparsity, options
from fairsparse.training import Run


@METHODS.register("dense")
@options
class DenseMethod(Method):
    """No pruning: the dense network as trained."""

    reference: ClassVar[str] = "-"
    facts: ClassVar[Facts] = Facts("none", "never", "1")
    sparsity: Sparsity = 0.0

    def run(self, run: Run) -> Outcome:
        """Return masks that keep every weight."""
        return Outcome(MaskSet.dense(self.weights(run.model)))
