"""A file that makes its reader crash, hang or eat memory costs only itself."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.isolation import IsolatedDocuments, found_of, reply_of
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError
from fine_tune_assets_tests.reports.making_files import REPORT, as_html


def test_a_document_that_takes_too_long_is_given_up_and_the_next_is_read() -> None:
    """One file must not hold up the batch for ever."""
    # Python alone takes longer than this to start.
    with IsolatedDocuments(ReadLimits(document_seconds=0.001), None) as documents:
        with pytest.raises(UnreadableError) as caught:
            documents("html", as_html(REPORT))
        assert caught.value.reason is Reason.READER_FAILED
        assert "more than 0.001 s" in caught.value.detail
        assert documents._child is None
    with IsolatedDocuments(ReadLimits(document_seconds=60), None) as documents:
        assert "2.5 cm" in documents("html", as_html(REPORT)).text


def test_a_document_that_needs_too_much_memory_is_given_up() -> None:
    """Else the kernel ends the largest process, which may be the run."""
    with IsolatedDocuments(ReadLimits(document_memory_bytes=400_000_000), None) as documents:
        with pytest.raises(UnreadableError) as caught:
            documents("html", b"<p>" + b"<b>x" * 12_000_000)
        assert caught.value.reason is Reason.READER_FAILED


def test_a_reader_that_is_killed_costs_one_document() -> None:
    """A crash in a C library looks like this from outside."""
    with IsolatedDocuments(ReadLimits(), None) as documents:
        documents("html", as_html(REPORT))
        child = documents._child  # the seam is the process itself
        assert child is not None
        child.kill()
        child.wait()
        with pytest.raises(UnreadableError) as caught:
            documents("html", as_html(REPORT))
        assert caught.value.reason is Reason.READER_FAILED
        assert "2.5 cm" in documents("html", as_html(REPORT)).text


def test_no_reader_is_left_behind() -> None:
    """Of a batch that is done, and of a run that was killed."""
    with IsolatedDocuments(ReadLimits(), None) as documents:
        documents("html", as_html(REPORT))
        assert documents._child is not None
        number = documents._child.pid
    assert not _is_running(number)
    script = (
        "from fine_tune_assets.reports.isolation import IsolatedDocuments\n"
        "from fine_tune_assets.reports.archives import ReadLimits\n"
        "d = IsolatedDocuments(ReadLimits(), None); d('text', b'x'); print(d._child.pid, flush=True); import time; time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not _is_running(orphan):
            break
        time.sleep(0.1)
    assert not _is_running(orphan)


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
        with open(f"/proc/{number}/stat") as file:
            return file.read().split(")")[-1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def test_a_reply_is_data_and_nothing_else() -> None:
    """Whatever takes over the reading process must not reach into the run."""
    error = UnreadableError(Reason.EMPTY, "Nothing.")
    with pytest.raises(UnreadableError):
        found_of(reply_of(error))
    for reply in (
        {},
        {"text": "x"},
        {"reason": "made up", "detail": ""},
        {"text": 1, "facts": {"identifiers": [{"kind": "x"}]}},
    ):
        with pytest.raises((KeyError, ValueError, TypeError)):
            found_of(reply)
