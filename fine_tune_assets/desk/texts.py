"""The texts that pages show: one draft, who wrote it, and the report that it was made of. Read from the tables in place.

Owns finding one row by its id without reading the rest: tables are written in small groups of rows, whose lowest and
highest id tell which one to read. Nothing is kept: a table that was made again is seen at once. Methods raise OldTableError
for a table of an older version that lacks what a page needs.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.tables.approval import DraftedExample
from fine_tune_assets.tables.columns_in_common import Passage
from fine_tune_assets.tables.stored_tables import read_rows


@dataclass(frozen=True)
class Texts:
    layout: Layout

    def draft(self, example_id: str) -> DraftedExample | None:
        """None if it is not drafted any more."""
        row = self._row("drafted_examples", None, ("example_id", example_id))
        return None if row is None else DraftedExample.of(row)

    def author(self, draft: DraftedExample) -> str | None:
        """Who wrote the correction that the draft was made of; None for a report's draft, or if it is not known."""
        author: str | None = self._of_correction(draft, "author")
        return author

    def passages(self, draft: DraftedExample) -> list[Passage]:
        """What stands before the question of a draft that was made of a correction, scrubbed; none for any other."""
        if not bare_question(draft.instruction, draft.input).documents:
            return []
        return [Passage.of(passage) for passage in self._of_correction(draft, "passages") or ()]

    def _of_correction(self, draft: DraftedExample, column: str) -> Any:
        """The column's value; None where no correction stands behind the draft."""
        if draft.source != CORRECTION:
            return None
        correction_id = draft.report_id.removeprefix(f"{CORRECTION}/")
        row = self._row("scrubbed_corrections", None, ("correction_id", correction_id), [column])
        return None if row is None else row[column]

    def tagged_report(self, report_id: str) -> str | None:
        """The scrubbed report with `[KIND]` in each place; None for a correction, or if it was erased."""
        return self._of_report(report_id, "tagged_text")

    def report_number(self, report_id: str) -> str | None:
        """What people call a report by: the first characters of its scrubbed text's fingerprint.

        Its id is often made of the name of a file, and that of a patient's.
        """
        fingerprint = self._of_report(report_id, "fingerprint")
        return None if fingerprint is None else short(fingerprint)

    def dropped_for(self, report_id: str) -> dict[str, str]:
        """Fingerprint of its scrubbed text → id, of the reports that were dropped as nearly the same as this one."""
        path = self.layout.table("duplicate_reports")
        columns = ["dropped_id", "kind", "fingerprint"]
        rows = read_rows(path, "duplicate_reports", "kept_id", [report_id], columns) if path.is_file() else []
        return {row["fingerprint"]: row["dropped_id"] for row in rows if row["fingerprint"] and row["kind"] != "exact"}

    def tagged_of_patient(self, report_id: str) -> tuple[str, str] | None:
        """Whose a scrubbed report is, and its text with `[KIND]` in each place; None if it is not there any more."""
        columns = ["patient_key", "tagged_text"]
        row = self._row("scrubbed_reports", report_id.partition("/")[0], ("report_id", report_id), columns)
        return None if row is None else (str(row["patient_key"]), str(row["tagged_text"]))

    def _of_report(self, report_id: str, column: str) -> str | None:
        row = self._row("scrubbed_reports", report_id.partition("/")[0], ("report_id", report_id), [column])
        return None if row is None else str(row[column])

    def _row(
        self, table: str, partition: str | None, key: tuple[str, str], columns: list[str] | None = None
    ) -> dict[str, Any] | None:
        path = self.layout.table(table, partition)
        # An id comes from an address: it must not lead out of the tables.
        if not path.is_file() or path.parent.parent != self.layout.tables:
            return None
        try:
            found = read_rows(path, table, key[0], [key[1]], columns)
        except (OSError, pa.ArrowInvalid):
            # Replaced while it was read. Without its cause, which may quote a text.
            return None
        return next(iter(found), None)
