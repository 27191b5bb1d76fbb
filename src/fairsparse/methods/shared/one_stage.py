"""A method of a single stage."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

from fairsparse.methods.method import Method, Outcome
from fairsparse.training import Round, Run


class OneStage(Method):
    """A method of a single stage, which subclasses `make`."""

    def run(self, run: Run) -> Outcome:
        """Prune and train the network of `run` in place, or take the stored result."""
        self.check(run.model, run.cells)
        done = run.chain().stage(self.name, self.key_settings(), make=partial(self.make, run))
        return Outcome(done.masks, rounds=[done.log])

    @abstractmethod
    def make(self, run: Run) -> Round:
        """Prune and train the network, which holds the trained dense weights."""
