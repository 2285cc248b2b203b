"""Shared state of all desk pages: settings, ledger, keys, templates and the menu."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, get_args

from jinja2 import Environment

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.background_checks import AgreementMonitor, ChainVerifier, GateMonitor
from fine_tune_assets.desk.gateway_client import GatewayClient
from fine_tune_assets.desk.grade_details import GradeDetails
from fine_tune_assets.desk.judged_answers import JudgedAnswers
from fine_tune_assets.desk.oidc_sign_in import Provider, read_provider
from fine_tune_assets.desk.origins import Addresses, read_addresses
from fine_tune_assets.desk.pipeline import TableCounts
from fine_tune_assets.desk.readable_names import NameRegistry
from fine_tune_assets.desk.stored_texts import StoredTexts
from fine_tune_assets.desk.templating import make_environment
from fine_tune_assets.desk.timed_cache import TimedCache
from fine_tune_assets.judging.judges.spot_check_sample import JudgedAnswer
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import derive_key
from fine_tune_assets.ledger.people.sessions import SessionLimits
from fine_tune_assets.lineage.account import Account
from fine_tune_assets.lineage.account_tables import AccountCache
from fine_tune_assets.lineage.left_out import LeftOutCache
from fine_tune_assets.lineage.set_history import SetCache
from fine_tune_assets.phi.missed_identifiers.withheld_drafts import WithheldDrafts
from fine_tune_assets.phi.spans.vocabulary import Vocabulary, load_vocabulary
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.recipes.schema import Recipe, ReviewSettings
from fine_tune_assets.reports.intake_summary import IntakeError, IntakeSummaryCache, count_unread_files

KEPT_SECONDS = 30.0
"""Seconds for which the home page keeps the sample for spot checks."""


MenuGroup = Literal["Work", "Models", "Data", "Oversight", ""]
MENU_GROUPS: tuple[MenuGroup, ...] = get_args(MenuGroup)
"""The groups of the menu, in order. The last one has no title."""


@dataclass(frozen=True)
class MenuEntry:
    path: str
    label: str
    description: str
    group: MenuGroup

    @property
    def icon(self) -> str:
        """Name of the symbol in the template `icons.html`."""
        return self.path.strip("/")


@dataclass(frozen=True)
class Desk:
    settings: Settings
    addresses: Addresses
    ledger: Ledger
    key: bytes
    """The ledger's key. Encrypts the identifiers that reviewers mark."""
    form_key: bytes
    sign_in_key: bytes
    session_limits: SessionLimits
    templates: Environment
    menu: Callable[[Collection[str]], tuple[MenuEntry, ...]]
    """Roles → the pages that a user with these roles may open."""
    provider: Provider | None
    stored_texts: StoredTexts
    withheld: WithheldDrafts
    agreement: AgreementMonitor
    intake: IntakeSummaryCache
    chain_checks: ChainVerifier
    gates: GateMonitor
    set_cache: SetCache
    judged_answers: JudgedAnswers
    grade_details: GradeDetails
    gateway: GatewayClient
    table_counts: TableCounts
    account: AccountCache
    left_out: LeftOutCache
    answers_to_rate: TimedCache[list[JudgedAnswer]]
    """The sample for spot checks, for the count on the home page. It takes most of that page's time."""
    names: NameRegistry
    lines: tuple[str, ...] = ()
    """Names of all product lines of this desk, the main one first; empty if there is only one."""

    @property
    def line_name(self) -> str:
        """Name of this product line, as people see it."""
        return self.settings.line or MAIN_LINE

    def warm_up(self) -> None:
        """Fill the caches, so that the first page does not wait for them."""
        self.agreement.latest()
        with suppress(IntakeError):
            self.intake.latest()
        with suppress(OSError, ValueError):  # a damaged set must not block reviews; only the pages that read it fail
            self.set_cache.list_sets()
            self.judged_answers.latest()
            self.grade_details.latest()
            self.names.latest()

    def read_account(self) -> Account:
        """Raises TableError, OSError, pa.ArrowInvalid for a table that is being replaced, or damaged."""
        recipe = None
        with suppress(RecipeError):  # being edited
            recipe = self.read_recipe()
        return self.account.latest(recipe)

    def read_review_settings(self) -> ReviewSettings:
        """The current recipe's review settings. Raises RecipeError."""
        return self.read_recipe().review

    def read_recipe(self) -> Recipe:
        """The current recipe. Raises RecipeError."""
        return _load_recipe(self.settings.recipe, _read_stamp(self.settings.recipe))


def open_desk(settings: Settings, menu: Callable[[Collection[str]], tuple[MenuEntry, ...]]) -> Desk:
    """Raises SettingsError, LedgerError."""
    addresses, provider = read_addresses(settings), read_provider(settings)
    ledger = open_ledger(settings)
    known_sets = SetCache(settings.layout.instruction_sets)
    limits = SessionLimits(
        timedelta(minutes=settings.desk.idle_timeout_minutes), timedelta(hours=settings.desk.session_hours)
    )
    return Desk(
        settings,
        addresses,
        ledger,
        ledger.key,
        derive_key(ledger.key, "desk-forms"),
        derive_key(ledger.key, "desk-sign-in"),
        limits,
        make_environment(),
        menu,
        provider,
        StoredTexts(settings.layout),
        WithheldDrafts(ledger, ledger.key, settings.layout, partial(_load_vocabulary, settings)),
        AgreementMonitor(ledger),
        IntakeSummaryCache(settings.layout),
        ChainVerifier(ledger),
        GateMonitor(settings.installation.layout.run, settings.line),
        known_sets,
        JudgedAnswers(settings.layout, ledger, known_sets),
        GradeDetails(settings.layout),
        GatewayClient(settings, ledger),
        TableCounts(settings.layout),
        AccountCache(settings.layout, ledger, partial(count_unread_files, settings.layout)),
        LeftOutCache(settings.layout),
        TimedCache(KEPT_SECONDS),
        NameRegistry(settings.layout, ledger),
    )


def _load_vocabulary(settings: Settings) -> Vocabulary:
    return load_vocabulary(_load_recipe(settings.recipe, _read_stamp(settings.recipe)).domain)


@lru_cache(maxsize=32)
def _load_recipe(recipe: str, _stamp: tuple[int, int]) -> Recipe:
    """Reload only when the file changes: parsing YAML takes longer than most pages."""
    return load_recipe(recipe)


def _read_stamp(recipe: str) -> tuple[int, int]:
    path = shipped_recipes().get(recipe, Path(recipe))
    if not path.is_file():
        return (0, 0)
    return (path.stat().st_mtime_ns, path.stat().st_size)
