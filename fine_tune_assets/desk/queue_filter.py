"""The filter of the queue as it stands in an address: which items are listed, and which come next.

Owns the names of its fields and what an age means. Anything that is not known is left out, never an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from fine_tune_assets.ledger.review_rows import QueueFilter

if TYPE_CHECKING:
    from fine_tune_assets.desk.visits import Visit

_IN_FORMS = "filter_"

AGES: Mapping[str, str] = MappingProxyType(
    {
        "new": "up to a day",
        "1": "more than a day",
        "7": "more than a week",
        "30": "more than 30 days",
    }
)
STATES: Mapping[str, str] = MappingProxyType(
    {
        "waiting": "waiting",
        "second_review": "second look",
        "disagreement": "disagreement",
        "approved": "approved",
        "rejected": "rejected",
        "trusted": "trusted source",
    }
)


@dataclass(frozen=True)
class QueueQuery:
    task: str = ""
    flag: str = ""
    source: str = ""
    age: str = ""
    state: str = ""
    mine: str = ""
    """`yes`: only those that I have."""

    @property
    def is_empty(self) -> bool:
        return not any(vars(self).values())

    def address(self, path: str, **more: str) -> str:
        """The path with this filter."""
        fields = {name: value for name, value in {**vars(self), **more}.items() if value}
        return f"{path}?{urlencode(fields)}" if fields else path

    @property
    def fields(self) -> dict[str, str]:
        """As a form carries it along."""
        return {f"{_IN_FORMS}{name}": value for name, value in vars(self).items() if value}

    def as_filter(self, viewer: str, now: datetime) -> QueueFilter:
        day = timedelta(days=1)
        older = now - day * int(self.age) if self.age.isdecimal() else None
        return QueueFilter(
            task=self.task or None,
            source=self.source or None,
            flag=self.flag or None,
            state=self.state or None,
            assigned_to=viewer if self.mine else None,
            arrived_before=older,
            arrived_after=now - day if self.age == "new" else None,
        )


def query_of(fields: Mapping[str, str]) -> QueueQuery:
    found = {name: fields.get(name, "")[:500] for name in QueueQuery.__dataclass_fields__}
    if found["age"] not in AGES:
        found["age"] = ""
    if found["state"] not in STATES:
        found["state"] = ""
    found["mine"] = "yes" if found["mine"] else ""
    return QueueQuery(**found)


def query_of_visit(visit: "Visit") -> QueueQuery:
    """The filter that the reviewer works through: in the address, or carried along by a form."""
    if not visit.form.values:
        return query_of(visit.request.query_params)
    carried = {
        name.removeprefix(_IN_FORMS): visit.form.text(name) for name in visit.form.values if name.startswith(_IN_FORMS)
    }
    return query_of(carried)
