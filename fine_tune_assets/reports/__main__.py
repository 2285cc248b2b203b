"""The reader of documents in a process of its own: `python -m fine_tune_assets.reports LIMIT`, started by isolation.py.

Owns what limits it. One request after the other: a JSON line with the document's kind and size, then its bytes.
"""

import json
import resource
import sys
from typing import Any

from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.formats.registry import read_document
from fine_tune_assets.reports.isolation import reply_of
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError


def main(memory_bytes: int) -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the report
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no reply
    while line := requests.readline():
        header = json.loads(line)
        found = answer(header, requests.read(header["bytes"]))
        replies.write(json.dumps(reply_of(found)).encode() + b"\n")
        replies.flush()


def answer(header: dict[str, Any], content: bytes) -> Found | UnreadableError:
    """What came of one document. Only what ends the process is not caught."""
    ocr = None if header["ocr"] is None else OcrProgram(header["ocr"])
    try:
        return read_document(header["kind"], content, ocr)
    except UnreadableError as error:
        return error
    except MemoryError:
        return UnreadableError(Reason.READER_FAILED, "Reading it needs too much memory. Split it.")
    # Whatever a library raises over a broken file: its message may quote the report and is dropped.
    except Exception as error:  # noqa: BLE001
        return UnreadableError(
            Reason.CORRUPT_FILE, f"It can't be read as what its ending says ({type(error).__name__}). Export it again."
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
