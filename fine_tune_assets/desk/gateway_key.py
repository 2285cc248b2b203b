"""The desk's own key for the gateway: made at first use, kept in the keys folder for this user alone.

Owns the file and the key's name. It may ask and correct in the name of whoever is signed in, with the labels that they have, and
nothing else.
"""

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from fine_tune_assets.core.keys import create_private_file, read_private_file
from fine_tune_assets.ledger.api_keys import KeyHolder, change_scopes, create_key, list_keys, rotate_key
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError

KEY_FILE = "desk-gateway.key"
NAME = "desk"
SCOPES = ("chat", "correct", "act_for", "act_for_any_label")
_SCOPES_BEFORE = ("chat", "correct", "act_for")
"""Of keys that an earlier version made."""
_WAIT_SECONDS = 2.0


def desk_key(ledger: Ledger, folder: Path) -> str:
    """The key. Raises SettingsError if others can read its file, LedgerError if the ledger holds another key of its name."""
    path = folder / KEY_FILE
    if not path.is_file():
        with suppress(LedgerError):  # another process of the desk was quicker
            create_private_file(path, create_key(ledger, NAME, SCOPES, by=NAME).secret.encode())
        _wait_for(path)
    if not path.is_file():
        create_private_file(path, _made_anew(ledger).encode())
    return read_private_file(path).decode().strip()


def bring_up_to_date(ledger: Ledger) -> None:
    """A key that an earlier version made gets the scopes of this one, with a line in the audit log."""
    own = _own(ledger)
    if own is not None and set(own.scopes) == set(_SCOPES_BEFORE):
        change_scopes(ledger, own.key_id, SCOPES, by=NAME)


def _own(ledger: Ledger) -> KeyHolder | None:
    return next((key for key in list_keys(ledger) if key.name == NAME and key.revoked_at is None), None)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)


def _made_anew(ledger: Ledger) -> str:
    """The file is lost: the key that is there gets another secret, and the lost one opens nothing any more."""
    own = _own(ledger)
    if own is None or set(own.scopes) != set(SCOPES):
        raise LedgerError(
            f"The desk needs a gateway key named {NAME} with the scopes {', '.join(SCOPES)}, and there is another one of that "
            "name. Revoke it: `fine-tune keys list`, then `fine-tune keys revoke ID`."
        )
    return rotate_key(ledger, own.key_id, timedelta(0), by=NAME).secret
