"""Keeps the newest position and hash of the audit log in a file outside the database, so that a shortened log is noticed.

The file is written after each commit that appended an entry. Each machine keeps a separate file.
"""

import fcntl
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.files import write_text

HEAD_FILE = "audit_head.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditHead:
    position: int
    entry_hash: str


def read_head(keys: Path) -> AuditHead | None:
    """None before the first entry. Raises ValueError if the file is damaged."""
    try:
        content = json.loads((keys / HEAD_FILE).read_text(encoding="utf-8"))
        return AuditHead(int(content["position"]), str(content["entry_hash"]))
    except FileNotFoundError:
        return None
    except (LookupError, TypeError) as error:
        raise ValueError(HEAD_FILE) from error


def advance_head(keys: Path, head: AuditHead) -> None:
    """Keep the head if it is newer than the kept one: processes commit in order, but may write this file in another.

    An error is logged: the entry is committed, and a file that is behind or damaged is found by the verification.
    """
    try:
        with (keys / f".{HEAD_FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = read_head(keys)
            if kept is None or kept.position < head.position:
                write_text(keys / HEAD_FILE, json.dumps(vars(head)))
    except (OSError, ValueError) as error:
        _LOG.error("The newest audit entry could not be kept in %s: %s.", keys / HEAD_FILE, type(error).__name__)
