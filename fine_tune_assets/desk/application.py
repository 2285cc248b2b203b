"""What all pages of the desk share: settings, ledger, keys, templates, the menu, and the limit on wrong one-time links."""

import threading
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.addresses import Addresses, read_addresses
from fine_tune_assets.desk.background_figures import AgreementFigures, ChainChecks
from fine_tune_assets.desk.gateway_client import GatewayClient
from fine_tune_assets.desk.judged_answers import JudgedAnswers
from fine_tune_assets.desk.oidc import Provider, read_provider
from fine_tune_assets.desk.overview import TableCounts
from fine_tune_assets.desk.templating import make_environment
from fine_tune_assets.desk.texts import Texts
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME, derive_key
from fine_tune_assets.ledger.people.sessions import SessionLimits
from fine_tune_assets.lineage.instruction_sets import KnownSets
from fine_tune_assets.phi.missed_identifiers.held_drafts import HeldBack
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.recipes.schema import Recipe, ReviewSettings
from fine_tune_assets.reports.arrivals import ArrivalFigures, ArrivalsError

WRONG_LINKS = 10
WINDOW_SECONDS = 60.0


class WrongLinks:
    """Counts wrong links. After `WRONG_LINKS` within `WINDOW_SECONDS` none is looked at. Safe to share between threads."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=WRONG_LINKS)
        self._lock = threading.Lock()

    def are_too_many(self, now: float) -> bool:
        with self._lock:
            return len(self._times) == WRONG_LINKS and now - self._times[0] < WINDOW_SECONDS

    def add(self, now: float) -> None:
        with self._lock:
            self._times.append(now)


@dataclass(frozen=True)
class MenuEntry:
    path: str
    label: str
    about: str


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
    menu: Callable[[Collection[str]], tuple[MenuEntry, ...]]
    """Roles → the pages that somebody with these roles may open."""
    provider: Provider | None
    texts: Texts
    held_back: HeldBack
    agreement: AgreementFigures
    arrivals: ArrivalFigures
    chain_checks: ChainChecks
    known_sets: KnownSets
    judged: JudgedAnswers
    gateway: GatewayClient
    table_counts: TableCounts
    wrong_links: WrongLinks

    def warm_up(self) -> None:
        """Read what the first page that needs it would wait for."""
        self.agreement.latest()
        with suppress(ArrivalsError):
            self.arrivals.latest()
        with suppress(OSError, ValueError):  # a damaged set keeps nobody from reviewing: the page that needs it fails
            self.known_sets.folders()
            self.judged.latest()

    def rules(self) -> ReviewSettings:
        """How the recipe wants examples reviewed, as it is now. Raises RecipeError."""
        return self.recipe().review

    def recipe(self) -> Recipe:
        """The recipe as it is now. Raises RecipeError."""
        return _recipe(self.settings.recipe, _stamp(self.settings.recipe))


def open_desk(settings: Settings, menu: Callable[[Collection[str]], tuple[MenuEntry, ...]]) -> Desk:
    """Raises SettingsError, LedgerError."""
    addresses, provider = read_addresses(settings), read_provider(settings)
    key, ledger = read_or_create_key(settings.layout.keys, KEY_NAME), open_ledger(settings.database_url)
    known_sets = KnownSets(settings.layout.instruction_sets)
    limits = SessionLimits(timedelta(minutes=settings.desk.idle_minutes), timedelta(hours=settings.desk.session_hours))
    return Desk(
        settings,
        addresses,
        ledger,
        key,
        derive_key(key, "desk-forms"),
        derive_key(key, "desk-sign-in"),
        limits,
        make_environment(),
        menu,
        provider,
        Texts(settings.layout),
        HeldBack(ledger, key, settings.layout),
        AgreementFigures(ledger),
        ArrivalFigures(settings.layout),
        ChainChecks(ledger),
        known_sets,
        JudgedAnswers(settings.layout, ledger, known_sets),
        GatewayClient(settings, ledger),
        TableCounts(settings.layout),
        WrongLinks(),
    )


@lru_cache(maxsize=4)
def _recipe(recipe: str, _stamp: tuple[int, int]) -> Recipe:
    """Read again only when the file changed: reading YAML takes longer than most pages."""
    return load_recipe(recipe)


def _stamp(recipe: str) -> tuple[int, int]:
    path = shipped_recipes().get(recipe, Path(recipe))
    if not path.is_file():
        return (0, 0)
    return (path.stat().st_mtime_ns, path.stat().st_size)
