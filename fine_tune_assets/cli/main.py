"""The command line: `fine-tune`. Owns the list of commands and how an error is shown; each command has its module.

Modules are imported when their command is called, so that `fine-tune --help` is quick.
"""

import importlib
import signal
import sys
from typing import Any

import click

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.offline import go_offline

COMMANDS = {
    # The asset graph: cli/demo/demo.py, cli/graph.py.
    "demo": (
        "fine_tune_assets.cli.demo.demo",
        "Run the whole asset graph on the sample reports, and serve the result.",
    ),
    "materialize": ("fine_tune_assets.cli.graph", "Bring every asset up to date, or only some."),
    "tables": ("fine_tune_assets.cli.graph", "List the tables that were written."),
    # Base models: cli/models.py.
    "import-model": ("fine_tune_assets.cli.models", "Bring a base model in: a local folder, an archive or a GGUF."),
    "models": ("fine_tune_assets.cli.models", "List the base models, and what can be done with each."),
    "plan": ("fine_tune_assets.cli.plan", "Say what a recipe's training would take, and what would fit."),
    # General questions: cli/abilities.py.
    "ability-tasks": ("fine_tune_assets.cli.abilities", "Write the general questions as tasks of lm-eval-harness."),
    # Identifiers: cli/scrub.py, cli/phi.py.
    "scrub": ("fine_tune_assets.cli.scrub", "Remove identifiers from text files or JSONL."),
    "phi": ("fine_tune_assets.cli.phi", "Mark identifiers that the scrubber missed."),
    # Duplicates: cli/duplicates.py.
    "duplicates": ("fine_tune_assets.cli.duplicates", "Say which documents repeat another one."),
    # Experts: cli/review/review.py.
    "review": ("fine_tune_assets.cli.review.review", "Decide about drafted examples."),
    # Patients: cli/trace.py, cli/erase.py.
    "trace": ("fine_tune_assets.cli.trace", "Follow an example, a patient or a release through every step."),
    "erase": ("fine_tune_assets.cli.erase", "Remove a patient from everywhere."),
    # Approvers: cli/verdicts.py.
    "verdicts": ("fine_tune_assets.cli.verdicts", "See what the gate decided, and sign a verdict on hold."),
    # Answers of one's own: cli/grade.py.
    "grade": ("fine_tune_assets.cli.grade", "Grade answers of your own with the recipe's judge."),
    "compare": ("fine_tune_assets.cli.grade", "Say which of two answers the recipe's judge prefers."),
    # Documents that answers rest on: cli/knowledge.py.
    "knowledge": ("fine_tune_assets.cli.knowledge", "Search the organisation's documents as an answer would."),
    # The served model: cli/services.py, cli/status.py, cli/keys.py, cli/audit.py.
    "up": ("fine_tune_assets.cli.services", "Start everything for daily use."),
    "down": ("fine_tune_assets.cli.services", "Stop it."),
    "status": ("fine_tune_assets.cli.status", "Show what is live and what runs."),
    "rollback": ("fine_tune_assets.cli.services", "Roll back to the release that served before."),
    "serve": ("fine_tune_assets.cli.services", "Run the supervisor in the foreground."),
    "gateway": ("fine_tune_assets.cli.services", "Run the gateway in the foreground."),
    "desk": ("fine_tune_assets.cli.services", "Run the desk, or make a sign-in link."),
    # Who may do what: cli/users.py.
    "users": ("fine_tune_assets.cli.users", "Users of the desk, and their roles."),
    "keys": ("fine_tune_assets.cli.keys", "API keys of the gateway."),
    # Releases: cli/releases/release_proofs.py, cli/releases/releases.py.
    "verify": (
        "fine_tune_assets.cli.releases.release_proofs",
        "Prove a release: its signature, its files and its verdict.",
    ),
    "releases": ("fine_tune_assets.cli.releases.releases", "List, move, serve and remove releases."),
    "audit": ("fine_tune_assets.cli.audit", "The audit log."),
}
"""Command → the module that has it under the same name (`_` for `-`), and what the overview says."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FineTuneError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_LazyGroup)
@click.version_option(package_name="fine_tune_assets")
def main() -> None:
    """Fine-tune open-weight models on confidential reports, inside your own network."""
    go_offline()
    hear_interrupts()


def hear_interrupts() -> None:
    """A script that starts a command in the background has it ignore SIGINT. Dagster does with SIGTERM as with SIGINT: the
    command could not be ended then, and each step would wait half a minute for its programs to end."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    main(prog_name="fine-tune")
