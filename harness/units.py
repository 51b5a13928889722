"""Units of measurement."""

MIB = 2**20
"""Bytes in a MiB."""
