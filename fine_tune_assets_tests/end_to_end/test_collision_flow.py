"""An invented value of one batch is a real one of another: the command scrubs that batch again and loses nothing.

A name that the scrubber invents for a batch of one installation becomes the name of a person in a second batch.
"""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale

pytestmark = pytest.mark.slow  # each scrub starts a process that loads Presidio
FIRST, SECOND = "2026-01", "2026-02"
SCRUBBING = {"reports", "scrub_recall", "scrubbed_reports", "phi_spans", "unique_reports", "duplicate_reports"}


def drop(data: Path, batch: str, name: str, complaints: list[str]) -> None:
    """Reports of one person, whose texts have nothing else in common."""
    folder = data / "raw_reports" / batch
    folder.mkdir()
    for number, complaint in enumerate(complaints):
        (folder / f"visit-{number}.txt").write_text(
            f"---\nsubject_name: {name}\nsubject_id: {batch}-7\n---\nCHIEF COMPLAINT\n\n{complaint}\n\n"
            f"HISTORY OF PRESENT ILLNESS\n\nMr. {name.split()[-1]} reports: {complaint}\n"
        )


def materialize(*words: str) -> Result:
    done = CliRunner().invoke(main, ["materialize", *words])
    assert done.exit_code == 0, done.output
    return done


def rows(data: Path, table: str) -> list[dict[str, Any]]:
    return [
        row for path in sorted((data / "tables" / table).glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def count_scrubs(instance: dg.DagsterInstance, batch: str) -> int:
    records = dg.AssetRecordsFilter(asset_key=dg.AssetKey("scrubbed_reports"), asset_partitions=[batch])
    return len(instance.fetch_materializations(records, limit=100).records)


def invent_name(data: Path) -> str:
    """The surname that the scrubber gave the person of the first batch."""
    (text,) = {row["text"] for row in rows(data, "scrubbed_reports") if row["report_id"] == f"{FIRST}/visit-0"}
    found = re.search(r"Mr\. (\w+) reports", text)
    assert found is not None
    return found[1]


def test_no_report_is_left_out_because_an_invented_name_is_real_elsewhere(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """30 of 60 reports vanished from a command that said "30 of 30 reports compared" and ended well.

    One story, since each scrub takes ten seconds.
    """
    drop(installation_dir, FIRST, "Ann Quillfeather", ["A cough at night.", "Pain in the left knee after a fall."])
    materialize("+drafted_examples")
    invented = invent_name(installation_dir)
    drop(installation_dir, SECOND, f"Ann {invented}", ["A burn of the hand by hot oil."])

    done = materialize("+drafted_examples")
    assert {row["report_id"] for row in rows(installation_dir, "unique_reports")} == {
        f"{FIRST}/visit-0", f"{FIRST}/visit-1", f"{SECOND}/visit-0",
    }  # fmt: skip
    assert invent_name(installation_dir) != invented
    assert count_scrubs(instance, FIRST) == 3  # the first command, the second one, and once again in it
    assert "no_surrogate_is_a_real_value" not in done.output  # it passes at the end of the command

    # Nothing else is due: the end of the collision does not scrub the batch once more.
    assert materialize_stale(defs, instance, only=SCRUBBING).failed == []
    assert (count_scrubs(instance, FIRST), count_scrubs(instance, SECOND)) == (3, 1)
