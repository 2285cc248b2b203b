"""A file that makes its reader crash, hang or exhaust memory affects only itself."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from fine_tune_assets.core.processes.confined_process import (
    ConfinedProcess,
    ConfinedProcessError,
    Failure,
    ProcessLimits,
)
from fine_tune_assets.core.processes.confined_worker import Channel
from fine_tune_assets.core.processes.confinement import Access
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import BatchResult, read_batch
from fine_tune_assets.reports.batches import list_files
from fine_tune_assets.reports.file_contents import BatchContents
from fine_tune_assets.reports.isolated_reader import IsolatedReader, _ReadingInProgress
from fine_tune_assets.reports.reader_messages import decode_outcome, decode_report, encode_error
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets_tests.reports.sample_files import REPORT, as_hl7, as_html, as_text

SECRET = b"k" * 32
HASTY = ReadLimits(file_cpu_seconds=1)
ENDLESS = as_hl7(REPORT) + b"\r" + b"OBX|1|TX|x||" + b"a&b^c~" * 400_000
"""A message that takes more time than that."""


def _reasons(result: BatchResult) -> dict[str, str]:
    return {row["origin_file"]: row["reason"] for row in result.unreadable.to_pylist()}


def test_after_a_timeout_the_next_document_is_read() -> None:
    """One file must not block its batch."""
    with IsolatedReader(ReadLimits(file_timeout_seconds=0.0), None) as documents:
        with pytest.raises(UnreadableError) as caught:
            documents("html", as_html(REPORT))
        assert caught.value.reason is UnreadableReason.READER_FAILED
        assert documents.process_id is None
    with IsolatedReader(ReadLimits(file_timeout_seconds=60), None) as documents:
        assert "2.5 cm" in documents("html", as_html(REPORT)).text


def test_a_killed_reader_affects_only_one_document() -> None:
    """A crash in a C library looks like this from outside."""
    with IsolatedReader(ReadLimits(), None) as documents:
        documents("html", as_html(REPORT))
        assert documents.process_id is not None
        os.kill(documents.process_id, signal.SIGKILL)
        with pytest.raises(UnreadableError) as caught:
            documents("html", as_html(REPORT))
        assert caught.value.reason is UnreadableReason.READER_FAILED
        assert "2.5 cm" in documents("html", as_html(REPORT)).text


def test_each_file_above_a_limit_is_left_out_alone(tmp_path: Path) -> None:
    """Also in an archive, as a sidecar, and as a FHIR file that is read for another one's references."""
    (tmp_path / "a.txt").write_bytes(as_text(REPORT))
    (tmp_path / "b.hl7").write_bytes(ENDLESS)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in {"c1.hl7": as_hl7(REPORT), "c2.hl7": ENDLESS, "c3.hl7": as_hl7(REPORT)}.items():
            archive.writestr(name, content)
    (tmp_path / "c.zip").write_bytes(packed.getvalue())
    (tmp_path / "d.txt").write_bytes(as_text(REPORT))
    (tmp_path / "e.txt").write_bytes(as_text(REPORT))
    (tmp_path / "e.yaml").write_text("".join(f"k{n}: [1, 2]\n" for n in range(70_000)))
    result = read_batch(tmp_path, "b1", SECRET, HASTY)
    assert _reasons(result) == {"b.hl7": "reader_failed", "c.zip/c2.hl7": "reader_failed", "e.txt": "bad_sidecar"}
    assert sorted(result.reports["origin_file"].to_pylist()) == ["a.txt", "c.zip/c1.hl7", "c.zip/c3.hl7", "d.txt"]
    assert result.file_counts.is_balanced


def test_a_file_that_ends_the_process_while_another_needs_it_is_left_out_alone(tmp_path: Path) -> None:
    """A FHIR file is read for the references of others: the blame must not fall on them."""
    code = {"code": {"text": "Pulse"}, "valueString": "regular"}
    observation = {"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p"}, **code}
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "4711"}]}
    (tmp_path / "a.json").write_text(json.dumps(observation))
    (tmp_path / "b.json").write_text('{"resourceType": "Bundle", "entry": [' + "{}," * 9_000_000 + "{}]}")
    (tmp_path / "c.json").write_text(json.dumps(patient))
    (tmp_path / "d.json").write_text("[" * 200_000)
    result = read_batch(tmp_path, "b1", SECRET, HASTY)
    assert _reasons(result) == {"b.json": "reader_failed", "d.json": "corrupt_file"}
    assert result.reports["origin_file"].to_pylist() == ["a.json"]


def test_a_file_that_takes_too_much_memory_is_left_out_alone(tmp_path: Path) -> None:
    """Otherwise the kernel would kill the largest process, which may be the run."""
    (tmp_path / "a.json").write_text("[" + "{}," * 6_000_000 + "{}]")
    (tmp_path / "b.txt").write_bytes(as_text(REPORT))
    result = read_batch(tmp_path, "b1", SECRET, ReadLimits(max_memory_bytes=300_000_000))
    assert _reasons(result) == {"a.json": "reader_failed"}
    assert result.reports["origin_file"].to_pylist() == ["b.txt"]


def test_no_reader_outlives_its_batch_or_run() -> None:
    """Neither after a finished batch nor after a killed run."""
    with IsolatedReader(ReadLimits(), None) as documents:
        documents("html", as_html(REPORT))
        number = documents.process_id
    assert number is not None
    assert not _is_running(number)
    script = (
        "from fine_tune_assets.reports.isolated_reader import IsolatedReader\n"
        "from fine_tune_assets.reports.archives import ReadLimits\n"
        "d = IsolatedReader(ReadLimits(), None); d('text', b'x'); print(d.process_id, flush=True); import time; time.sleep(60)"
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
    with pytest.raises(UnreadableError):
        decode_report(encode_error(UnreadableError(UnreadableReason.EMPTY, "Nothing.")))
    report = {"local_id": "a", "subject": "s", "text": "t", "identifiers": [], "written_on": None, "headings": []}
    place = {"path": "a.txt", "record": None, "size_bytes": 1}
    assert decode_outcome({**place, **report}).path == Path("a.txt")
    for reply in ({}, {"text": "x"}, {"reason": "made up", "detail": ""}, {"text": 1, "metadata": {"identifiers": []}}):
        with pytest.raises((KeyError, ValueError, TypeError)):
            decode_report(reply)
    for change in (
        {"text": 1},
        {"path": 2},
        {"local_id": "a\nb"},
        {"identifiers": [{"kind": "x", "value": "y"}]},
        {"headings": [{"line": 2**70, "level": 1}]},
        {"headings": [{"line": 1, "level": 11}]},
    ):
        with pytest.raises((KeyError, ValueError, TypeError, UnreadableError)):
            decode_outcome({**place, **report, **change})


def _ask_for_key(channel: Channel, name: str) -> None:
    """A compromised reader."""
    channel.receive()
    channel.send({"file": "a.txt"})
    channel.send({"read": name, "max_bytes": 100})
    channel.receive()


@pytest.mark.parametrize("name", ["../keys/signing.key", "/etc/hostname", "b.txt"])
def test_a_reader_gets_only_the_files_of_its_batch(tmp_path: Path, name: str) -> None:
    """Otherwise a compromised reader could have the platform read a key for it."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "signing.key").write_bytes(SECRET)
    folder = tmp_path / "batch"
    folder.mkdir()
    (folder / "a.txt").write_bytes(as_text(REPORT))
    reading = _ReadingInProgress(BatchContents(folder, list_files(folder)), "b1", True)
    limits = ProcessLimits(seconds=30, cpu_seconds=10, memory_bytes=2**30, output_bytes=2**20)
    access = Access(readable=(str(Path(__file__).parents[1]),))
    with (
        ConfinedProcess(_ask_for_key, {"name": name}, limits, access) as process,
        pytest.raises(ValueError, match="not a file"),
    ):
        reading.resume(process)


def test_a_process_that_can_not_start_is_no_fault_of_a_file(tmp_path: Path) -> None:
    """Otherwise every file of a healthy batch would be quarantined."""
    (tmp_path / "a.txt").write_bytes(as_text(REPORT))
    contents = BatchContents(tmp_path, list_files(tmp_path))
    limits = ReadLimits(max_memory_bytes=1_000_000)
    with IsolatedReader(limits, None) as reader, pytest.raises(ConfinedProcessError) as caught:
        reader.read_batch(contents, "b1", is_subject_required=True)
    assert caught.value.failure in (Failure.CRASHED, Failure.OUT_OF_MEMORY)
