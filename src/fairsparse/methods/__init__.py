"""Methods: each one file, each the difference to the shared training loop."""

from fairsparse.methods import (
    at_init,
    ballot,
    bifp,
    ceag,
    dense,
    distill,
    equalized_loss,
    fair_scratch,
    fair_then_prune,
    fairgrape,
    fairprune,
    lth,
    magnitude,
    performance_weighted,
    prune_then_fair,
    safecompress,
)
from fairsparse.methods.base import METHODS, Method, Outcome
from fairsparse.methods.stages import Dense, train_dense

__all__ = [
    "METHODS",
    "Dense",
    "Method",
    "Outcome",
    "at_init",
    "ballot",
    "bifp",
    "ceag",
    "dense",
    "distill",
    "equalized_loss",
    "fair_scratch",
    "fairgrape",
    "fairprune",
    "fair_then_prune",
    "lth",
    "magnitude",
    "performance_weighted",
    "prune_then_fair",
    "safecompress",
    "train_dense",
]
