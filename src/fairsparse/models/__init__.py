"""Networks: plain modules from inputs to logits."""

from fairsparse.models.small import MODELS, build, check_outputs, factory

__all__ = ["MODELS", "build", "check_outputs", "factory"]
