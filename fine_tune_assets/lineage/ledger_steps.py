"""The steps of a trace that the ledger knows: decisions, verdicts, releases and deployments. Owns the queries."""

from collections.abc import Collection
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import decisions, deployments, releases, revocations, verdicts
from fine_tune_assets.lineage.records import DecisionStep, DeploymentStep, ReleaseStep, VerdictStep

Pair = tuple[str, str]
"""Of an adapter and the instruction set that it was trained on."""
_DECISION = ("example_id", "decision_id", "decision", "role", "reviewer", "decided_at", "meaning", "report_id")
_VERDICT = [verdicts.c[name] for name in VerdictStep.__dataclass_fields__]
_RELEASE = [releases.c[name] for name in ReleaseStep.__dataclass_fields__ if name != "deployments"]
_DEPLOYMENT = [deployments.c[name] for name in DeploymentStep.__dataclass_fields__]


def decisions_on(ledger: Ledger, example_ids: Collection[str]) -> dict[str, list[tuple[DecisionStep, str | None]]]:
    """Example → every decision about it in its order, revoked ones too, each with the report that it names."""
    query = (
        sa.select(
            *(decisions.c[name] for name in _DECISION),
            decisions.c.output.is_not(None).label("is_repaired"),
            revocations.c.revoked_by,
            revocations.c.revoked_at,
        )
        .outerjoin(revocations, revocations.c.decision_id == decisions.c.decision_id)
        .where(decisions.c.example_id.in_(example_ids))
        .order_by(decisions.c.sequence)
    )
    found: dict[str, list[tuple[DecisionStep, str | None]]] = {example_id: [] for example_id in example_ids}
    for row in _rows(ledger, query):
        step = DecisionStep(**{k: v for k, v in row.items() if k not in ("example_id", "report_id")})
        found[row["example_id"]].append((step, row["report_id"]))
    return found


class TrainingSteps:
    """What became of each training: read once for all of them, since a page asks for every one that saw an example."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def verdicts(self, pair: Pair) -> tuple[VerdictStep, ...]:
        return tuple(VerdictStep(**values) for values in self._verdicts.get(pair, ()))

    def releases(self, pair: Pair) -> tuple[ReleaseStep, ...]:
        return tuple(
            ReleaseStep(**values, deployments=tuple(self._deployments.get(values["release_id"], ())))
            for values in self._releases.get(pair, ())
        )

    @cached_property
    def _verdicts(self) -> dict[Pair, list[dict[str, Any]]]:
        return self._by_pair(verdicts, _VERDICT, verdicts.c.sequence)

    @cached_property
    def _releases(self) -> dict[Pair, list[dict[str, Any]]]:
        return self._by_pair(releases, _RELEASE, releases.c.recorded_at, releases.c.release_id)

    @cached_property
    def _deployments(self) -> dict[str, list[DeploymentStep]]:
        found: dict[str, list[DeploymentStep]] = {}
        query = sa.select(deployments.c.release_id, *_DEPLOYMENT).order_by(deployments.c.sequence)
        for row in _rows(self._ledger, query):
            values = dict(row)
            found.setdefault(values.pop("release_id"), []).append(DeploymentStep(**values))
        return found

    def _by_pair(self, table: sa.Table, columns: list[Any], *order: Any) -> dict[Pair, list[dict[str, Any]]]:
        found: dict[Pair, list[dict[str, Any]]] = {}
        pair = (table.c.adapter_id, table.c.instruction_set_fingerprint)
        for row in _rows(self._ledger, sa.select(*pair, *columns).order_by(*order)):
            values = dict(row)
            key = values.pop("adapter_id"), values.pop("instruction_set_fingerprint")
            found.setdefault(key, []).append(values)
        return found


def _rows(ledger: Ledger, query: sa.Select[Any]) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.execute(query).mappings().all())
