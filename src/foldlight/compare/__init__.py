"""Reconstructions beside the truth, or beside counts they never saw."""
