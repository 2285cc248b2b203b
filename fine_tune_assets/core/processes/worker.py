"""Heavy work in a process of its own: `python -m fine_tune_assets.<package>` started through Dagster Pipes.

Owns the protocol: a request (a JSON object with an `action`) comes as Pipes extras; the result, or an error for people,
goes back in the file that the request names. Tables travel as Parquet paths. The process dies with its parent, so that a
killed run leaves nothing on the GPU. Needs `dagster_pipes` only.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dagster_pipes import PipesContext, open_dagster_pipes

from fine_tune_assets.core.errors import FineTuneError, without_message
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.offline import go_offline, use_large_pages
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.core.progress import Progress, reports_into, silent

Handler = Callable[[dict[str, Any], Progress], dict[str, Any]]

RESULT = "result"
ERROR = "error"
FOR_PEOPLE = "is_for_people"
"""Whether the error says what to do, in its own words."""
ANSWER_FILE = "answer_file"
"""Key of a request: where the answer is written. Not a Pipes message: Dagster reads those line by line while they are
written, and lost a training's result when it met half of a long line (dagster 1.13.27, `_reader_thread`)."""
RUNNING_FILE = "running_file"
"""Key of a request: the file of its step, into which the worker writes how far it is. Absent on another machine."""
PROGRESS_EVERY_SECONDS = 2.0


def serve_request(handlers: Mapping[str, Handler], is_started_here: bool = True) -> None:
    """Do the one request that this process was started for.

    An expected error (FineTuneError) is sent back as its message. Any other is sent as its type and the lines it came
    through, without its message, which could hold report text. `is_started_here`: false for what a cluster started, whose
    end it sees to itself.
    """
    if is_started_here:
        die_with_parent()
    go_offline()
    use_large_pages()
    with open_dagster_pipes() as pipes:
        request = dict(pipes.extras)
        # An action that nobody knows is an answer too, so it is looked up within.
        answer = answer_to(
            request, lambda asked, tell: handlers[asked["action"]](asked, tell), _reporting(pipes, request)
        )
        write_text(Path(request[ANSWER_FILE]), json.dumps(answer))


def answer_to(request: dict[str, Any], handler: Handler, progress: Progress) -> dict[str, Any]:
    """The result, or what is told of an error."""
    try:
        return {RESULT: handler(request, progress)}
    except FineTuneError as error:
        return {ERROR: str(error), "type": type(error).__name__, FOR_PEOPLE: True}
    # Whatever else goes wrong must reach the UI, and its message must not: it may quote a report.
    except Exception as error:  # noqa: BLE001
        return {ERROR: without_message(error), "type": type(error).__name__, FOR_PEOPLE: False}


def read_answer(path: Path) -> dict[str, Any] | None:
    """What a worker wrote: {RESULT: …}, or {ERROR: …, "type": …}. None if it ended before it could."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _reporting(pipes: PipesContext, request: Mapping[str, Any]) -> Progress:
    file, last = request.get(RUNNING_FILE), 0.0
    write = silent if file is None else reports_into(Path(file))

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= PROGRESS_EVERY_SECONDS:
            last = now
            pipes.log.info(f"{done} of {total} {what}")
            write(done, total, what)

    return report
