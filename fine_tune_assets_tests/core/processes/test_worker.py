"""The worker protocol with a real process and Dagster Pipes: results and expected errors are returned, messages of unexpected
errors never are."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.parent import PARENT_VARIABLE
from fine_tune_assets.core.processes.worker import ERROR, IS_USER_FACING, RESPONSE_FILE, RESULT, read_response

MARKER = "Zyxwvutquark"
WORKER = f"""
import os
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.worker import serve_request


def echo(request, progress):
    progress(1, 2, "things")
    progress(2, 2, "things")
    return {{"said": request["say"], "hub_is_off": os.environ["HF_HUB_OFFLINE"]}}


def large(request, progress):
    return {{"curve": "x" * 10_000_000}}


def expected(request, progress):
    raise FineTuneError("Report r-17 has no patient. Add subject_id.")


def unexpected(request, progress):
    raise ValueError("could not read {MARKER} in the report")


def caused(request, progress):
    try:
        unexpected(request, progress)
    except ValueError as error:
        raise RuntimeError("while reading {MARKER}") from error


serve_request({{"echo": echo, "large": large, "expected": expected, "unexpected": unexpected, "caused": caused}})
"""


class Run:
    """The response to one request, and all of Dagster's log lines."""

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        script = folder / "worker.py"
        script.write_text(WORKER, encoding="utf-8")
        file = folder / "answer.json"

        @dg.op
        def ask(context: dg.OpExecutionContext) -> None:
            client, extras = dg.PipesSubprocessClient(cwd=str(PROJECT_DIR)), {**request, RESPONSE_FILE: str(file)}
            client.run(context=context, command=[sys.executable, str(script)], extras=extras)

        @dg.job
        def job() -> None:
            ask()

        with dg.DagsterInstance.ephemeral() as instance:
            self.succeeded = job.execute_in_process(instance=instance, raise_on_error=False).success
            run_id = instance.get_runs()[0].run_id
            self.log = "\n".join(str(entry) for entry in instance.all_logs(run_id))
        answer = read_response(file)
        assert answer is not None
        self.answer = answer


def test_the_result_is_returned_and_progress_is_logged(tmp_path: Path) -> None:
    """Progress is shown in the UI."""
    run = Run(tmp_path, {"action": "echo", "say": "hello"})
    assert run.answer == {RESULT: {"said": "hello", "hub_is_off": "1"}}
    assert "2 of 2 things" in run.log


def test_a_large_result_is_returned_completely_outside_the_event_log(tmp_path: Path) -> None:
    """Dagster's message reader once lost the result of a training because it contained an image."""
    run = Run(tmp_path, {"action": "large"})
    assert len(run.answer[RESULT]["curve"]) == 10_000_000
    assert len(run.log) < 1_000_000


def test_a_killed_worker_leaves_no_response(tmp_path: Path) -> None:
    """A missing result differs from an empty one."""
    assert read_response(tmp_path / "answer.json") is None


def test_a_worker_exits_if_its_parent_ended_during_its_start() -> None:
    """Otherwise it would run next to the next run's worker: two trainings once wrote to the same checkpoints."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    program = "from fine_tune_assets.core.processes.parent import die_with_parent; die_with_parent(); print('alive')"
    for parent, code, output in ((gone.pid, -signal.SIGKILL, ""), (os.getpid(), 0, "alive\n")):
        environment = {**os.environ, PARENT_VARIABLE: str(parent)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (code, output)


def test_an_expected_error_is_returned_with_its_message(tmp_path: Path) -> None:
    """It says what to do, and contains only ids."""
    assert Run(tmp_path, {"action": "expected"}).answer == {
        ERROR: "Report r-17 has no patient. Add subject_id.",
        "type": "FineTuneError",
        IS_USER_FACING: True,
    }


@pytest.mark.parametrize(("action", "kind"), [("unexpected", "ValueError"), ("caused", "RuntimeError")])
def test_the_message_of_an_unexpected_error_is_never_returned_or_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], action: str, kind: str
) -> None:
    """It may quote a report. Event log, stdout and stderr contain only type and stack."""
    run = Run(tmp_path, {"action": action})
    assert run.answer["type"] == kind
    assert not run.answer[IS_USER_FACING]
    assert run.answer[ERROR].startswith(f"{kind} at {action} line ")
    seen = capfd.readouterr()
    assert MARKER not in run.log + str(run.answer) + seen.out + seen.err


def test_an_unknown_action_is_returned_as_an_error(tmp_path: Path) -> None:
    """A caller of another version gets an error instead of a crash."""
    answer = Run(tmp_path, {"action": "nonsense"}).answer
    assert answer["type"] == "KeyError"
    assert RESULT not in answer
