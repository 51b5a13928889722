"""Searching for settings with Optuna, on images that no table reports."""
