"""The configuration of ``fairsparse demo``."""

from pathlib import Path

DEMO = Path(__file__).with_name("demo.yaml")
