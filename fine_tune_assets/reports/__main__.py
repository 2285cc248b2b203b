"""Document reader subprocess: `python -m fine_tune_assets.reports LIMIT`, started by isolated_reader.py.

Sets its own memory limit, then serves one request at a time: a JSON line with the document's kind and size, then its bytes.
"""

import json
import resource
import sys
from typing import Any

from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.reports.formats.document_formats import read_document
from fine_tune_assets.reports.isolated_reader import encode_reply
from fine_tune_assets.reports.ocr import OcrProgram
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason


def main(memory_bytes: int) -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the report
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # keep library output out of the reply stream
    while line := requests.readline():
        header = json.loads(line)
        outcome = handle_request(header, requests.read(header["bytes"]))
        replies.write(json.dumps(encode_reply(outcome)).encode() + b"\n")
        replies.flush()


def handle_request(header: dict[str, Any], content: bytes) -> ParsedReport | UnreadableError:
    """Read one document. Catches everything except what ends the process."""
    ocr = None if header["ocr"] is None else OcrProgram(header["ocr"])
    try:
        return read_document(header["kind"], content, ocr)
    except UnreadableError as error:
        return error
    except MemoryError:
        return UnreadableError(UnreadableReason.READER_FAILED, "The reader ran out of memory. Split the file.")
    # Any library error on a corrupt file. Its message may quote the report, so it is dropped.
    except Exception as error:  # noqa: BLE001
        return UnreadableError(
            UnreadableReason.CORRUPT_FILE,
            f"The content does not match the file extension ({type(error).__name__}). Export it again.",
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
