"""Runs heavy work in a separate process: `python -m fine_tune_assets.<package>`, started through Dagster Pipes.

The request, a JSON object with an `action`, arrives as Pipes extras; the result or error is written to the file that the request
names. Tables are passed as Parquet paths. The process dies with its parent, so that a killed run frees the GPU. Imports only
`dagster_pipes`.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dagster_pipes import PipesContext, open_dagster_pipes

from fine_tune_assets.core.errors import FineTuneError, summarize_exception
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.offline import go_offline, use_large_pages
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.core.progress import Progress, ignore_progress, progress_writer

Handler = Callable[[Any, Progress], dict[str, Any]]
"""Handles the request of one action, a class of worker_requests.py."""

RESULT = "result"
ERROR = "error"
IS_USER_FACING = "is_user_facing"
"""Whether the error is a message for users."""
RESPONSE_FILE: Final = "response_file"
"""Key of a request: path of the response. Not a Pipes message: Dagster reads those while they are written, and lost a
training's result when it read half of a long line (dagster 1.13.27, `_reader_thread`)."""
PROGRESS_FILE = "progress_file"
"""Key of a request: the progress file of its step. Absent on another machine."""
PROGRESS_INTERVAL_SECONDS = 2.0


def serve_request(handlers: Mapping[str, Handler], is_local: bool = True) -> None:
    """Handle the one request for which this process was started.

    An expected error (FineTuneError) is returned with its message, any other with type and stack only, since its message could
    contain report text. `is_local`: False if a cluster started the process and ends it.
    """
    if is_local:
        die_with_parent()
    go_offline()
    use_large_pages()
    with open_dagster_pipes() as pipes:
        request = dict(pipes.extras)
        # Look the action up inside `handle_request`, so that an unknown action is returned as an error.
        response = handle_request(
            request,
            lambda values, progress: handlers[values["action"]](values, progress),
            _report_progress(pipes, request),
        )
        write_text(Path(request[RESPONSE_FILE]), json.dumps(response))


def handle_request(request: Mapping[str, Any], handler: Handler, progress: Progress) -> dict[str, Any]:
    """The result, or the error without report text."""
    try:
        return {RESULT: handler(request, progress)}
    except FineTuneError as error:
        return {ERROR: str(error), "type": type(error).__name__, IS_USER_FACING: True}
    # Any other error must reach the UI without its message, which may quote a report.
    except Exception as error:  # noqa: BLE001
        return {ERROR: summarize_exception(error), "type": type(error).__name__, IS_USER_FACING: False}


def read_response(path: Path) -> dict[str, Any] | None:
    """The worker's response: {RESULT: …} or {ERROR: …, "type": …}. None if it ended without one."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _report_progress(pipes: PipesContext, request: Mapping[str, Any]) -> Progress:
    file, last = request.get(PROGRESS_FILE), 0.0
    write = ignore_progress if file is None else progress_writer(Path(file))

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= PROGRESS_INTERVAL_SECONDS:
            last = now
            pipes.log.info(f"{done} of {total} {what}")
            write(done, total, what)

    return report
