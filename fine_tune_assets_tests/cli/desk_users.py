"""Users of the desk who sign on the command line with a password, and the operating-system user who runs the tests."""

import os
import pwd
from datetime import UTC, datetime

from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.users import User, create_user
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

PASSWORD = "seven grey herons at dusk"
TYPED = f"{PASSWORD}\n"
"""As standard input."""
OS_USER = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
"""How a command records the person who runs the tests."""


def add_user(ledger: Ledger, name: str, *roles: str) -> User:
    """Create a user who signs in with PASSWORD; with the role reviewer if no role is given."""
    return create_user(
        ledger, name, roles or ("reviewer",), password=PASSWORD, oidc_identity=None, now=datetime.now(UTC)
    )


def add_users(*names: str, role: str = "reviewer") -> None:
    """Create users with one role in the ledger of the current settings."""
    ledger = fresh_ledger(load_settings())
    try:
        for name in names:
            add_user(ledger, name, role)
    finally:
        ledger.close()
