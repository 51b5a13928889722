"""CLIP as two towers of stages, its loading and its prompts."""
