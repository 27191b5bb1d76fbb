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
    lth,
    magnitude,
    performance_weighted,
    safecompress,
)
from fairsparse.methods.base import METHODS, Dense, Method, Outcome, train_dense

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
    "lth",
    "magnitude",
    "performance_weighted",
    "safecompress",
    "train_dense",
]
