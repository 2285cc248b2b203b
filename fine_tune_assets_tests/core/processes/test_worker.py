"""The worker protocol, over a real process and Dagster Pipes: results and expected errors come back, messages of
unexpected errors never do."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.parent import PARENT
from fine_tune_assets.core.processes.worker import ANSWER_FILE, ERROR, FOR_PEOPLE, RESULT, read_answer

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
    raise FineTuneError("Report r-17 has no patient. Add patient_id.")


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
    """What came of one request: the answer, and every line that Dagster keeps."""

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        script = folder / "worker.py"
        script.write_text(WORKER, encoding="utf-8")
        file = folder / "answer.json"

        @dg.op
        def ask(context: dg.OpExecutionContext) -> None:
            client, extras = dg.PipesSubprocessClient(cwd=str(PROJECT_DIR)), {**request, ANSWER_FILE: str(file)}
            client.run(context=context, command=[sys.executable, str(script)], extras=extras)

        @dg.job
        def job() -> None:
            ask()

        with dg.DagsterInstance.ephemeral() as instance:
            self.succeeded = job.execute_in_process(instance=instance, raise_on_error=False).success
            run_id = instance.get_runs()[0].run_id
            self.kept = "\n".join(str(entry) for entry in instance.all_logs(run_id))
        answer = read_answer(file)
        assert answer is not None
        self.answer = answer


def test_the_result_comes_back_and_progress_as_log_lines(tmp_path: Path) -> None:
    """Progress in the UI, the result in the step."""
    run = Run(tmp_path, {"action": "echo", "say": "hello"})
    assert run.answer == {RESULT: {"said": "hello", "hub_is_off": "1"}}
    assert "2 of 2 things" in run.kept


def test_a_large_result_comes_back_whole_and_passes_by_the_event_log(tmp_path: Path) -> None:
    """A training of hours was lost when its result, with a picture in it, went through Dagster's message reader."""
    run = Run(tmp_path, {"action": "large"})
    assert len(run.answer[RESULT]["curve"]) == 10_000_000
    assert len(run.kept) < 1_000_000


def test_a_worker_that_was_killed_left_no_answer(tmp_path: Path) -> None:
    """No result is not an empty result."""
    assert read_answer(tmp_path / "answer.json") is None


def test_a_worker_whose_parent_ended_before_it_was_up_does_nothing() -> None:
    """It would go on alone, beside the one that the next run starts: two trainings wrote to the same checkpoints so."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    code = "from fine_tune_assets.core.processes.parent import die_with_parent; die_with_parent(); print('goes on')"
    for parent, ended, said in ((gone.pid, -signal.SIGKILL, ""), (os.getpid(), 0, "goes on\n")):
        environment = {**os.environ, PARENT: str(parent)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (ended, said)


def test_an_expected_error_comes_back_in_its_own_words(tmp_path: Path) -> None:
    """It says what to do, and holds ids only."""
    assert Run(tmp_path, {"action": "expected"}).answer == {
        ERROR: "Report r-17 has no patient. Add patient_id.",
        "type": "FineTuneError",
        FOR_PEOPLE: True,
    }


@pytest.mark.parametrize(("action", "kind"), [("unexpected", "ValueError"), ("caused", "RuntimeError")])
def test_the_message_of_an_unexpected_error_never_leaves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], action: str, kind: str
) -> None:
    """It may quote a report: type and place are enough to repair a fault, on the event log, stdout and stderr alike."""
    run = Run(tmp_path, {"action": action})
    assert run.answer["type"] == kind
    assert not run.answer[FOR_PEOPLE]
    assert run.answer[ERROR].startswith(f"{kind} at {action} line ")
    seen = capfd.readouterr()
    assert MARKER not in run.kept + str(run.answer) + seen.out + seen.err


def test_an_unknown_action_comes_back_as_an_error(tmp_path: Path) -> None:
    """A caller of another version is told, and the process does not crash."""
    answer = Run(tmp_path, {"action": "nonsense"}).answer
    assert answer["type"] == "KeyError"
    assert RESULT not in answer
