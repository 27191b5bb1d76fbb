"""Networks: plain modules from inputs to logits."""

from fairsparse.models import language, small, vision
from fairsparse.models.construct import (
    adapted,
    build,
    check_outputs,
    check_trusted,
    factory,
    restored,
)
from fairsparse.models.registry import MODELS

__all__ = [
    "MODELS",
    "adapted",
    "build",
    "check_outputs",
    "check_trusted",
    "factory",
    "language",
    "restored",
    "small",
    "vision",
]
