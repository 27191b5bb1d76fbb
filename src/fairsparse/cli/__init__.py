"""The command line."""

from fairsparse.cli.program import app, main

__all__ = ["app", "main"]
