"""The worker protocol, over a real process and Dagster Pipes: results and expected errors come back, messages of
unexpected errors never do."""

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.worker import ERROR, RESULT

MARKER = "Zyxwvutquark"
WORKER = f"""
import os
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.worker import serve_request


def echo(request, progress):
    progress(1, 2, "things")
    progress(2, 2, "things")
    return {{"said": request["say"], "hub_is_off": os.environ["HF_HUB_OFFLINE"]}}


def expected(request, progress):
    raise FineTuneError("Report r-17 has no patient. Add patient_id.")


def unexpected(request, progress):
    raise ValueError("could not read {MARKER} in the report")


def caused(request, progress):
    try:
        unexpected(request, progress)
    except ValueError as error:
        raise RuntimeError("while reading {MARKER}") from error


serve_request({{"echo": echo, "expected": expected, "unexpected": unexpected, "caused": caused}})
"""


class Run:
    """What came of one request: custom messages, and every line that Dagster keeps."""

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        script = folder / "worker.py"
        script.write_text(WORKER, encoding="utf-8")
        self.messages: list[dict[str, Any]] = []

        @dg.op
        def ask(context: dg.OpExecutionContext) -> None:
            client = dg.PipesSubprocessClient(cwd=str(PROJECT_DIR))
            done = client.run(context=context, command=[sys.executable, str(script)], extras=request)
            self.messages.extend(done.get_custom_messages())

        @dg.job
        def job() -> None:
            ask()

        with dg.DagsterInstance.ephemeral() as instance:
            self.succeeded = job.execute_in_process(instance=instance, raise_on_error=False).success
            run_id = instance.get_runs()[0].run_id
            self.kept = "\n".join(str(entry) for entry in instance.all_logs(run_id))


def test_the_result_comes_back_as_one_message_and_progress_as_log_lines(tmp_path: Path) -> None:
    """Progress in the UI, the result in the step."""
    run = Run(tmp_path, {"action": "echo", "say": "hello"})
    assert run.messages == [{RESULT: {"said": "hello", "hub_is_off": "1"}}]
    assert "2 of 2 things" in run.kept


def test_an_expected_error_comes_back_in_its_own_words(tmp_path: Path) -> None:
    """It says what to do, and holds ids only."""
    (message,) = Run(tmp_path, {"action": "expected"}).messages
    assert message == {ERROR: "Report r-17 has no patient. Add patient_id.", "type": "FineTuneError"}


@pytest.mark.parametrize(("action", "kind"), [("unexpected", "ValueError"), ("caused", "RuntimeError")])
def test_the_message_of_an_unexpected_error_never_leaves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], action: str, kind: str
) -> None:
    """It may quote a report: type and place are enough to repair a fault, on the event log, stdout and stderr alike."""
    run = Run(tmp_path, {"action": action})
    (message,) = run.messages
    assert message["type"] == kind
    assert message[ERROR].startswith(f"{kind} at {action} line ")
    seen = capfd.readouterr()
    assert MARKER not in run.kept + str(run.messages) + seen.out + seen.err


def test_an_unknown_action_comes_back_as_an_error(tmp_path: Path) -> None:
    """A caller of another version is told, and the process does not crash."""
    (message,) = Run(tmp_path, {"action": "nonsense"}).messages
    assert message["type"] == "KeyError"
    assert RESULT not in message
