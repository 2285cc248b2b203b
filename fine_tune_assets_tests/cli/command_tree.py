"""Every command and group of `fine-tune`, found by walking the click tree."""

from collections.abc import Iterator

import click

from fine_tune_assets.cli.main import main

Path = tuple[str, ...]


def walk(command: click.Command = main, path: Path = ()) -> Iterator[tuple[Path, click.Command]]:
    """The command and everything below it, with the words that call it after `fine-tune`."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, (*path, name))


TREE = dict(walk())
LEAVES = {path: command for path, command in TREE.items() if not isinstance(command, click.Group)}


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def has_json(command: click.Command) -> bool:
    return any("--json" in option.opts for option in options(command))
