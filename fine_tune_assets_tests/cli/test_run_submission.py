"""Submitting runs to Dagster: what is reported when its webserver does not run, answers nonsense or refuses a run."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

import pytest

from fine_tune_assets.cli.run_submission import SubmissionError, submit_runs
from fine_tune_assets.core.dagster_ui import webserver_socket
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

RUN = [("2026-02", ("phi_spans", "scrubbed_reports")), (None, ("base_models",))]


class Webserver:
    """Answers every request with `reply`; keeps the last body."""

    def __init__(self, path: Path) -> None:
        self.reply, self.body = b"", b""
        outer = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                length = 0
                while (line := self.rfile.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                outer.body = self.rfile.read(length)
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(outer.reply)}\r\nconnection: close\r\n\r\n"
                self.wfile.write(head.encode() + outer.reply)

        path.parent.mkdir(parents=True)
        self.server = ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, *results: dict[str, object]) -> None:
        self.reply = json.dumps({"data": {"launchMultipleRuns": {"launchMultipleRunsResult": results}}}).encode()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(data_dir=tmp_path / "d")
    fresh_ledger(found).close()
    return found


@pytest.fixture
def webserver(settings: Settings) -> Iterator[Webserver]:
    made = Webserver(webserver_socket(settings.layout.run))
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_without_a_webserver_the_command_to_start_it_is_named(settings: Settings) -> None:
    """Nothing was submitted, so trying again is safe."""
    with pytest.raises(SubmissionError, match="fine-tune up dagster-webserver"):
        submit_runs(settings, RUN)


def test_a_batch_is_submitted_with_its_partition(settings: Settings, webserver: Webserver) -> None:
    webserver.answer(*({"__typename": "LaunchRunSuccess", "run": {"runId": name}} for name in ("r-1", "r-2")))
    assert submit_runs(settings, RUN) == ["r-1", "r-2"]
    first, second = json.loads(webserver.body)["variables"]["runs"]
    assert first["executionMetadata"]["tags"] == [{"key": "dagster/partition", "value": "2026-02"}]
    assert [key["path"] for key in first["selector"]["assetSelection"]] == [["phi_spans"], ["scrubbed_reports"]]
    assert second["executionMetadata"]["tags"] == []
    with closing(open_ledger(settings)) as ledger:
        entry = audit.list_entries(ledger)[-1]
    assert entry.resource == "assets base_models, phi_spans, scrubbed_reports; dagster/partition 2026-02"


def test_a_refused_run_is_an_error_with_dagsters_message(settings: Settings, webserver: Webserver) -> None:
    webserver.answer({"__typename": "UnauthorizedError", "message": "Not permitted."})
    with pytest.raises(SubmissionError, match=r"1 of 1 runs: Not permitted\."):
        submit_runs(settings, RUN[:1])


def test_a_reply_that_is_not_json_says_that_runs_may_exist(settings: Settings, webserver: Webserver) -> None:
    """The request may have been carried out: trying again could train twice."""
    webserver.reply = b"Internal Server Error"
    with pytest.raises(SubmissionError, match="may have been submitted"):
        submit_runs(settings, RUN)
