"""What to run, as YAML: experiments, recipes; and how the embedded benchmark was made."""
