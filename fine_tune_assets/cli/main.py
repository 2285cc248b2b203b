"""The command line `fine-tune`: the list of commands, and how errors are shown.

A module is imported when its command is called, so that `fine-tune --help` is fast.
"""

import importlib
import os
import signal
import sys
from typing import Any, NamedTuple

import click

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.line_names import LINE_VARIABLE, MAIN_LINE
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.processes.private_files import keep_files_private


class _Entry(NamedTuple):
    module: str
    """Below `fine_tune_assets.cli`."""
    summary: str
    """At most 45 characters."""
    attribute: str = ""
    """Name of the command in the module, if it differs."""


SECTIONS = {
    "Start": {
        "demo": _Entry("demo.demo_command", "Serve a model and materialize every asset."),
        "doctor": _Entry("doctor_command", "Check this machine and installation."),
        "status": _Entry("status_command", "Show the production model and the services."),
        "up": _Entry("service_commands", "Start all services."),
        "down": _Entry("service_commands", "Stop all services."),
        "run": _Entry("service_commands", "Run one service in the foreground."),
    },
    "Asset graph": {
        "materialize": _Entry("asset_commands", "Materialize selected or outdated assets."),
        "lines": _Entry("line_commands", "Add and list product lines."),
        "tables": _Entry("asset_commands", "List tables and how to query them."),
        "recipe": _Entry("recipe_commands", "List, check and create recipes."),
        "batch": _Entry("batch_commands", "Check a batch of reports."),
        "models": _Entry("model_commands", "Import and list base models."),
        "plan": _Entry("plan_command", "Plan training, merge and serving of a recipe."),
    },
    "Data and review": {
        "scrub": _Entry("scrub_command", "Remove identifiers from text files or JSONL."),
        "duplicates": _Entry("duplicates_command", "Find duplicate documents."),
        "datasets": _Entry("dataset_commands", "Import existing data sets."),
        "phi": _Entry("phi_commands", "Show misses of the scrubber, and marks."),
        "review": _Entry("review.review_commands", "List drafts, and exchange decisions."),
        "subjects": _Entry("subject_commands", "Erase or restore a subject."),
        "trace": _Entry("trace_command", "Trace an example, subject or release."),
    },
    "Evaluation and release": {
        "verdicts": _Entry("verdict_commands", "Show and verify verdicts."),
        "grade": _Entry("eval_commands", "Grade answers with a judge."),
        "eval": _Entry("eval_commands", "Export ability questions.", "evaluation"),
        "verifier": _Entry("verifier_commands", "Train and measure a verifier of statements."),
        "releases": _Entry("releases.release_commands", "Verify, move, deploy and remove releases."),
        "rollback": _Entry("service_commands", "Roll back to the previous release."),
        "knowledge": _Entry("knowledge_commands", "Check and search documents for answers."),
    },
    "Access": {
        "users": _Entry("user_commands", "Add and reset operators, list users."),
        "keys": _Entry("key_commands", "Manage API keys and the signing key."),
        "audit": _Entry("audit_commands", "Verify the ledger: its logs and its rows."),
        "completion": _Entry("completion_command", "Print a shell completion script."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        module = importlib.import_module(f"fine_tune_assets.cli.{entry.module}")
        command = getattr(module, entry.attribute or cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FineTuneError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_status)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fine_tune_assets")
@click.option("--line", metavar="NAME", help="Product line to work on; default: main.")
def main(line: str | None) -> None:
    """Fine-tune open-weight models on confidential reports, inside your own network."""
    if line is not None:
        os.environ[LINE_VARIABLE] = "" if line == MAIN_LINE else line
    keep_files_private()
    go_offline()
    restore_interrupts()


def restore_interrupts() -> None:
    """Handle SIGINT also if a script started the command in the background, because shells ignore it there.

    Dagster handles SIGTERM as it handles SIGINT. If both were ignored, the command could not be stopped, and each step would wait
    30 s for its programs to end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    main(prog_name="fine-tune")
