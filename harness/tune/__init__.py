"""Searching for settings with Optuna, on pictures that no table is made of."""
