"""What all pages of the desk share: settings, ledger, keys, templates. Owns opening and closing them."""

from dataclasses import dataclass
from datetime import timedelta

from jinja2 import Environment

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.addresses import Addresses, read_addresses
from fine_tune_assets.desk.oidc import Provider, read_provider
from fine_tune_assets.desk.rendering import make_environment
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME, derive_key
from fine_tune_assets.ledger.sessions import SessionLimits


@dataclass(frozen=True)
class Desk:
    settings: Settings
    addresses: Addresses
    ledger: Ledger
    key: bytes
    """The ledger's key: what reviewers mark is encrypted with it."""
    form_key: bytes
    sign_in_key: bytes
    limits: SessionLimits
    templates: Environment
    provider: Provider | None


def open_desk(settings: Settings) -> Desk:
    """Raises SettingsError, LedgerError."""
    addresses, provider = read_addresses(settings), read_provider(settings)
    key = read_or_create_key(settings.layout.keys, KEY_NAME)
    limits = SessionLimits(timedelta(minutes=settings.desk_idle_minutes), timedelta(hours=settings.desk_session_hours))
    return Desk(
        settings,
        addresses,
        open_ledger(settings.database_url),
        key,
        derive_key(key, "desk-forms"),
        derive_key(key, "desk-sign-in"),
        limits,
        make_environment(),
        provider,
    )
