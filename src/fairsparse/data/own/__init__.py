"""The user's own data: tensors and arrays, tables, images, texts."""

# ruff: noqa: F401
from fairsparse.data.own import images, table, text
