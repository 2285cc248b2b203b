"""The help of every command is short, complete and available at every level; completion scripts work."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import COMMANDS, main
from fine_tune_assets_tests.cli.command_tree import LEAVES, TREE, options

SUMMARY_CHARACTERS = 45
UNLIMITED = 10_000


def name(path: tuple[str, ...]) -> str:
    return " ".join(("fine-tune", *path))


def test_the_command_tree_is_walked_to_its_leaves() -> None:
    """If the walk stopped early, the tests below would check nothing."""
    assert {("status",), ("users", "link"), ("phi", "withdraw"), ("releases", "deploy")} <= set(LEAVES)
    assert len(LEAVES) > 50


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("path", TREE, ids=name)
def test_help_is_printed_at_every_level(path: tuple[str, ...], option: str) -> None:
    """Even without an installation and without the required arguments."""
    done = CliRunner().invoke(main, [*path, option], prog_name="fine-tune")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"Usage: {name(path)} ")
    assert done.stderr == ""


@pytest.mark.parametrize("path", [path for path in TREE if path], ids=name)
def test_the_summary_of_a_command_is_short_and_complete(path: tuple[str, ...]) -> None:
    """click truncates a longer summary in the list of commands."""
    summary = TREE[path].get_short_help_str(limit=UNLIMITED)
    assert 0 < len(summary) <= SUMMARY_CHARACTERS, summary
    assert TREE[path].get_short_help_str(limit=SUMMARY_CHARACTERS) == summary
    assert not summary.endswith("..."), summary
    first_line = (TREE[path].help or "").strip().splitlines()[0]
    assert first_line.endswith("."), first_line
    assert len(first_line) <= SUMMARY_CHARACTERS, first_line


def test_the_summaries_of_the_first_page_are_short_and_complete() -> None:
    """main.py contains copies, because a module is imported only when its command is called; both texts must be equal."""
    first_lines = {name: (TREE[(name,)].help or "").strip().splitlines()[0] for name in COMMANDS}
    assert {name: entry.summary for name, entry in COMMANDS.items()} == first_lines


@pytest.mark.parametrize(
    ("path", "option"),
    [
        pytest.param(path, option, id=f"{name(path)} {option.opts[0]}")
        for path, command in TREE.items()
        for option in options(command)
    ],
)
def test_the_help_of_an_option_is_short_and_complete(path: tuple[str, ...], option: click.Option) -> None:  # noqa: ARG001
    """One line; the reference page of the command explains the rest."""
    text = option.help or ""
    assert 0 < len(text) <= SUMMARY_CHARACTERS, text
    assert text.endswith("."), text


def test_every_command_is_on_the_first_page_in_a_section() -> None:
    """The list is grouped by topic; users would not find a missing command."""
    page = CliRunner().invoke(main, ["-h"], terminal_width=120).stdout
    for command, entry in COMMANDS.items():
        assert f"  {command} " in page
        assert entry.summary in page


def test_help_imports_no_command() -> None:
    """`fine-tune -h` must be fast, so a command's imports run when it is called."""
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom fine_tune_assets.cli.main import main\n"
        "assert CliRunner().invoke(main, ['-h']).exit_code == 0\n"
        "heavy = {'dagster', 'torch', 'duckdb', 'pyarrow', 'sqlalchemy', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_asks_the_program_that_it_completes(shell: str) -> None:
    """click completes only if the program's variable is set; with another name, completion would do nothing."""
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert f"_FINE_TUNE_COMPLETE={shell}_complete" in done.stdout
    assert "fine-tune" in done.stdout


def test_a_completion_names_commands_of_a_group(tmp_path: Path) -> None:
    """The request of the bash script when a user types `fine-tune phi w` and presses Tab."""
    words = {"_FINE_TUNE_COMPLETE": "bash_complete", "COMP_WORDS": "fine-tune phi w", "COMP_CWORD": "2"}
    environment = {**os.environ, **words, "FINE_TUNE_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "from fine_tune_assets.cli.main import main; main(prog_name='fine-tune')"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["plain,withdraw"], done.stderr


def test_an_unknown_shell_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["completion", "powershell"]).exit_code == 2
