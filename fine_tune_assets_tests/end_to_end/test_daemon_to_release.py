"""The real daemon takes raw batches to a served release, and follows each later change exactly as far as it matters."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets_tests.changed_settings import settings_in
from fine_tune_assets_tests.end_to_end.conftest import Small
from fine_tune_assets_tests.end_to_end.daemon_waits import until, until_quiet
from fine_tune_assets_tests.ledger.ledger_rows import record_decision

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]
SERVICES = ("supervisor", "gateway", "code-server", "dagster-daemon")
RELEASE_SECONDS, CHANGE_SECONDS, QUIET_SECONDS = 900.0, 240.0, 25.0
"""`source_sensor` looks every 15 seconds, so quiet takes longer than that."""
MADE_FROM_EXAMPLES = {"instruction_sets", "training_plans"}
MADE_FROM_VERDICTS = {"merged_weights", "quantized_weights", "releases", "served_models"}
WEEKLY_CRON = "FINE_TUNE_RETRAIN_CRON"


@dataclass
class Watched:
    """An installation that only the daemon works on."""

    small: Small
    settings: Settings
    instance: dg.DagsterInstance

    def made(self) -> Counter[str]:
        """Asset → its materializations, in any partition."""
        counts: Counter[str] = Counter()
        for run in self.instance.get_runs():
            for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
                event = entry.get_dagster_event()
                assert event.asset_key is not None
                counts[event.asset_key.to_user_string()] += 1
        return counts

    def until_quiet(self) -> None:
        until_quiet(self.instance, self.settings, QUIET_SECONDS, CHANGE_SECONDS)

    def ledger(self) -> Ledger:
        return open_ledger(self.settings)

    def live_release(self) -> str | None:
        ledger = self.ledger()
        try:
            live = find_live_deployment(ledger)
        finally:
            ledger.close()
        return None if live is None else live.release_id

    def rows(self, table: str) -> list[dict[str, Any]]:
        path = self.settings.layout.table(table)
        return list(pq.read_table(path).to_pylist()) if path.is_file() else []

    def start(self, *services: str, **environment: str) -> None:
        done = self.small.run("-m", "fine_tune_assets.cli.main", "up", *services, **environment)
        assert done.returncode == 0, done.stderr

    def stop(self, *services: str) -> None:
        self.small.run("-m", "fine_tune_assets.cli.main", "down", *services)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The batches arrive after the services have started. No command is run by hand."""
    small = Small(tmp_path_factory.mktemp("daemon"))
    aside = Path(small.data / "raw_reports").rename(small.data / "batches")
    (small.data / "raw_reports").mkdir()
    with dg.DagsterInstance.from_config(str(small.home)) as instance:
        found = Watched(small, settings_in(small.environment), instance)
        try:
            found.start(*SERVICES)
            for batch in sorted(aside.iterdir()):
                batch.rename(small.data / "raw_reports" / batch.name)
            until(lambda: found.live_release() is not None, found.settings, RELEASE_SECONDS, "a served release")
            found.until_quiet()
            yield found
        finally:
            found.stop(*SERVICES)


def test_raw_batches_become_a_served_release_without_a_hand(watched: Watched) -> None:
    """Each batch is read once, and there is one training, one verdict and one release."""
    made = watched.made()
    batches = len(list((watched.small.data / "raw_reports").iterdir()))
    assert {made[name] for name in ("reports", "scrubbed_reports")} == {batches}
    once = ("adapters", "judge_scores", "merged_weights", "releases", "served_models")
    assert {name: made[name] for name in once} == dict.fromkeys(once, 1)
    assert {run.tags.get("trigger") for run in watched.instance.get_runs()} <= {"automation", "new batch"}
    (release,) = watched.rows("releases")
    assert release["release_id"] == watched.live_release()


def test_a_changed_section_of_the_recipe_reaches_what_reads_it(watched: Watched) -> None:
    """A stricter or looser gate is a new verdict about the same candidate, not a new training."""
    before, live = watched.made(), watched.live_release()
    watched.small.write_recipe(gate={"minimum_gain": -4.0})
    until(
        lambda: watched.made()["promotion_verdicts"] > before["promotion_verdicts"],
        watched.settings,
        CHANGE_SECONDS,
        "a verdict with the new gate",
    )
    watched.until_quiet()
    changed = {name for name, count in (watched.made() - before).items() if count}
    assert "promotion_verdicts" in changed
    assert changed <= {"judge_agreement", "promotion_verdicts", *MADE_FROM_VERDICTS}
    assert live is not None


def test_a_correction_and_its_approval_reach_the_instruction_set(watched: Watched) -> None:
    """One example is too few for a training, so the daemon plans one and waits."""
    before = watched.made()
    ledger = watched.ledger()
    example = next(row for row in watched.rows("approved_examples") if row["task"] == "name_section")
    record_correction(
        ledger,
        read_or_create_key(watched.settings.layout.keys, KEY_NAME),
        release_id=str(watched.live_release()),
        author="ward-7",
        instruction=example["instruction"],
        input="Doctor: Do you take anything for the pain?\nPatient: Ibuprofen, and a tablet for my stomach.",
        answer="allergies",
        corrected_answer="medications",
        idempotency_key="one",
    )

    def drafts() -> list[dict[str, Any]]:
        return [row for row in watched.rows("drafted_examples") if row["source"] == CORRECTION]

    until(lambda: bool(drafts()), watched.settings, CHANGE_SECONDS, "a draft of the correction")
    watched.until_quiet()
    changed = watched.made() - before
    # The instruction set is built again with the same examples, so nothing is made from it.
    assert set(changed) == {
        "scrubbed_corrections", "quarantined_corrections", "drafted_examples", "approved_examples", "instruction_sets",
    }  # fmt: skip

    before = watched.made()
    (draft,) = drafts()
    named = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
    record_decision(ledger, **named, reviewer="another person")
    ledger.close()
    until(
        lambda: any(row["source"] == CORRECTION for row in watched.rows("instruction_sets")),
        watched.settings,
        CHANGE_SECONDS,
        "the correction in the instruction set",
    )
    watched.until_quiet()
    assert set(watched.made() - before) == {"approved_examples", *MADE_FROM_EXAMPLES}


def test_the_weekly_schedule_trains_on_the_one_new_example(watched: Watched) -> None:
    """Fired by the daemon, which is restarted with a schedule that is due in two minutes. Only the start is waited for."""
    zone = ZoneInfo(watched.settings.time_zone)
    at = datetime.now(zone) + timedelta(minutes=2)
    watched.stop("code-server", "dagster-daemon")
    weekly = f"{at.minute} {at.hour} * * {at.isoweekday() % 7}"
    watched.start("code-server", "dagster-daemon", **{WEEKLY_CRON: weekly})

    def weekly_runs() -> list[dg.DagsterRun]:
        return watched.instance.get_runs(dg.RunsFilter(tags={"trigger": "weekly"}))

    until(lambda: bool(weekly_runs()), watched.settings, CHANGE_SECONDS, "a weekly training")
    (run,) = weekly_runs()
    assert run.job_name == "retrain"
    planned = watched.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    assert {str(entry.get_dagster_event().asset_key.path[-1]) for entry in planned} == {"training_plans", "adapters"}
