"""A group of commands whose modules are imported when a command is used."""

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from harness.errors import UserError, nearest
from harness.text import examples_as_typed


class TypedFormatter(click.HelpFormatter):
    """Help whose examples begin as the user has to type them."""

    def getvalue(self) -> str:
        """The whole text."""
        return examples_as_typed(super().getvalue())


class TypedContext(click.Context):
    """A context with such help."""

    formatter_class = TypedFormatter


class LazyGroup(click.Group):
    """Commands by name, imported when they are used, so that help and each command import only what they need.

    Args:
        commands: name -> module and name of the command in it, such as `harness.cli.run:bench`, and one line of help,
            which the list of commands shows.
        options: of click's group.
    """

    context_class = TypedContext

    def __init__(self, commands: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(**options)
        self.lazy = commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which help lists them."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in self.lazy:
            return None
        module, _, attribute = self.lazy[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        command.context_class = TypedContext
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names.

        Raises:
            UserError: there is none of this name.
        """
        if not (args[0] in self.lazy or args[0].startswith("-") or ctx.resilient_parsing):
            raise UserError(f"unknown command '{args[0]}'.{nearest(args[0], self.lazy)} `skipbench --help` lists all")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands and options, without importing the commands."""
        found = [
            CompletionItem(name, help=about) for name, (_, about) in self.lazy.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in self.lazy.items()])
