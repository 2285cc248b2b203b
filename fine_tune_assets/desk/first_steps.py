"""The first steps of a new installation, which the home page shows to operators until the first adapter is trained."""

from collections.abc import Collection
from dataclasses import dataclass

from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.core.settings import DOCUMENTATION_PATH
from fine_tune_assets.desk.pipeline import PipelineFacts


@dataclass(frozen=True)
class FirstStep:
    title: str
    text: str
    is_done: bool
    path: str
    """The page on which it is done or explained."""
    link: str


def list_first_steps(
    facts: PipelineFacts, raw_reports: str, has_reviewers: bool, roles: Collection[str]
) -> list[FirstStep]:
    """Empty after the first training. `raw_reports`: the folder for batches, as an operator types it."""
    if facts.adapters:
        return []
    approved = facts.count_rows("approved_examples") > 0
    reports = FirstStep(
        "Add reports",
        f"Copy a folder with reports into {raw_reports}. Each folder there is one batch.",
        facts.count_rows("reports") > 0,
        f"{DOCUMENTATION_PATH}/how-to/add-reports.md",
        "Formats and folders",
    )
    people = FirstStep(
        "Invite reviewers",
        "Reviewers approve the drafts that the model learns from. Each one signs in with their own name.",
        has_reviewers,
        *(("/users", "Users") if may(roles, Action.MANAGE_USERS) else _explain("use-the-desk.md", "How to add users")),
    )
    review = FirstStep(
        "Review drafts",
        "After each batch, drafts wait in the queue. Only approved examples are trained on.",
        approved and not facts.records.open_reviews,
        *_explain("review-examples.md", "How drafts are reviewed"),
    )
    train = FirstStep(
        "Train the first adapter",
        "The pipeline trains as soon as the recipe's minimum of approved examples is reached, then judges the adapter.",
        False,
        *_explain("write-a-recipe.md", "What the recipe decides"),
    )
    return [reports, people, review, train]


def _explain(page: str, link: str) -> tuple[str, str]:
    return f"{DOCUMENTATION_PATH}/how-to/{page}", link
