"""Published data sets. A file with one is imported here, and its decorator does the rest."""

# ruff: noqa: F401
from fairsparse.data.sets import faces, images, lfw, people, text
