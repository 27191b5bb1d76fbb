"""Networks: plain modules from inputs to logits."""

from fairsparse.models import language, small, vision
from fairsparse.models.adapt import adapted, restored
from fairsparse.models.construct import build, check_outputs, factory
from fairsparse.models.registry import MODELS

__all__ = [
    "MODELS",
    "adapted",
    "build",
    "check_outputs",
    "factory",
    "language",
    "restored",
    "small",
    "vision",
]
