"""Methods: each one file, each the difference to the shared training loop."""

from importlib import import_module
from pkgutil import iter_modules

from fairsparse.methods.base import METHODS, Method, Outcome
from fairsparse.methods.stages import Dense, Run, train_dense

for _module in iter_modules(__path__):  # a method is registered when its file is imported
    import_module(f"{__name__}.{_module.name}")

__all__ = ["METHODS", "Dense", "Method", "Outcome", "Run", "train_dense"]
