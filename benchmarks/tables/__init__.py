"""RESULTS.md and its plots, from recorded results alone."""
