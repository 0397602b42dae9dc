"""Branches and loops that depend on values, and checkpoint."""
