"""A file that makes its reader crash, hang or exhaust memory affects only itself."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.isolated_reader import IsolatedReader, decode_reply, encode_reply
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets_tests.reports.sample_files import REPORT, as_html


def test_after_a_timeout_the_next_document_is_read() -> None:
    """One file must not block its batch."""
    # Starting Python alone takes longer than this.
    with IsolatedReader(ReadLimits(document_timeout_seconds=0.001), None) as documents:
        with pytest.raises(UnreadableError) as caught:
            documents("html", as_html(REPORT))
        assert caught.value.reason is UnreadableReason.READER_FAILED
        assert "0.001 s" in caught.value.detail
        assert documents._child is None
    with IsolatedReader(ReadLimits(document_timeout_seconds=60), None) as documents:
        assert "2.5 cm" in documents("html", as_html(REPORT)).text


def test_a_document_above_the_memory_limit_is_unreadable() -> None:
    """Otherwise the kernel would kill the largest process, which may be the run."""
    with IsolatedReader(ReadLimits(max_document_memory_bytes=400_000_000), None) as documents:
        with pytest.raises(UnreadableError) as caught:
            documents("html", b"<p>" + b"<b>x" * 12_000_000)
        assert caught.value.reason is UnreadableReason.READER_FAILED


def test_a_killed_reader_affects_only_one_document() -> None:
    """A crash in a C library looks like this from outside."""
    with IsolatedReader(ReadLimits(), None) as documents:
        documents("html", as_html(REPORT))
        child = documents._child  # the process is the seam
        assert child is not None
        child.kill()
        child.wait()
        with pytest.raises(UnreadableError) as caught:
            documents("html", as_html(REPORT))
        assert caught.value.reason is UnreadableReason.READER_FAILED
        assert "2.5 cm" in documents("html", as_html(REPORT)).text


def test_no_reader_outlives_its_batch_or_run() -> None:
    """Neither after a finished batch nor after a killed run."""
    with IsolatedReader(ReadLimits(), None) as documents:
        documents("html", as_html(REPORT))
        assert documents._child is not None
        number = documents._child.pid
    assert not _is_running(number)
    script = (
        "from fine_tune_assets.reports.isolated_reader import IsolatedReader\n"
        "from fine_tune_assets.reports.archives import ReadLimits\n"
        "d = IsolatedReader(ReadLimits(), None); d('text', b'x'); print(d._child.pid, flush=True); import time; time.sleep(60)"
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


def test_a_reply_can_only_contain_data() -> None:
    """A compromised reader must not reach into the run."""
    error = UnreadableError(UnreadableReason.EMPTY, "Nothing.")
    with pytest.raises(UnreadableError):
        decode_reply(encode_reply(error))
    for reply in (
        {},
        {"text": "x"},
        {"reason": "made up", "detail": ""},
        {"text": 1, "metadata": {"identifiers": [{"kind": "x"}]}},
    ):
        with pytest.raises((KeyError, ValueError, TypeError)):
            decode_reply(reply)
