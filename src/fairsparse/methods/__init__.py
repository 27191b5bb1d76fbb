"""Methods: each one file, each the difference to the shared training loop."""

from importlib import import_module
from pkgutil import walk_packages

from fairsparse.methods.method import METHODS, Method, Outcome
from fairsparse.training import Dense, Run, train_dense

# a method is registered when its file is imported
for _module in walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = ["METHODS", "Dense", "Method", "Outcome", "Run", "train_dense"]
