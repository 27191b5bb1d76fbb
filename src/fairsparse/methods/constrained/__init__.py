"""Pruning under constraints on the cells."""
