"""How many items the queue holds, by what they are filtered by: one look at the table for progress and menus together.

Owns nothing; the page of the queue shows both, and each look reads every item.
"""

from collections import Counter

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.review_rows import Facets, TaskProgress, in_lines
from fine_tune_assets.ledger.schema import review_items as items


def queue_counts(ledger: Ledger) -> tuple[list[TaskProgress], Facets]:
    """How far each task is, and what there is to filter by, of one moment."""
    columns = (items.c.task, items.c.source, items.c.flag_kinds, items.c.state)
    query = sa.select(*columns, sa.func.count()).where(items.c.gone_at.is_(None)).group_by(*columns)
    tasks, sources, flags, states = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    by_task: dict[str, Counter[str]] = {}
    with ledger.read() as connection:
        for task, source, kinds, state, count in connection.execute(query):
            tasks[task] += count
            sources[source] += count
            states[state] += count
            flags.update(dict.fromkeys(in_lines(kinds), count))
            by_task.setdefault(task, Counter())[state] += count
    progress = [TaskProgress(task, dict(by_task[task])) for task in sorted(by_task)]
    return progress, Facets(*(_most_first(counted) for counted in (tasks, sources, flags, states)))


def _most_first(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
