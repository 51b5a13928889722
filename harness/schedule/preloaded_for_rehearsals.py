"""What is imported once where several runs are rehearsed: for the shapes of fake tensors torch asks its compiler."""

from harness.machine.torch_internals import compile_errors

# Imports it.
compile_errors()
