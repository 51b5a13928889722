"""Estimates what a run will cost, without running it."""
