"""How many subjects the judge of a recipe needs in a domain without shipped ratings, said before anybody reviews.

The qualification and `fine-tune verifier adapt` set the limits (docs/decisions/0013-judges.md).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from fine_tune_assets.approval.task_kinds import UncheckedDraft
from fine_tune_assets.instructions.splits import SplitRule
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import Recipe, SplitSettings


@dataclass(frozen=True)
class SubjectNeeds:
    tested: int
    """Subjects of the test split that qualify a judge."""
    training: int
    measuring: int
    """Other subjects with which the verifier is adapted."""

    @property
    def others(self) -> int:
        return self.training + self.measuring

    def is_tight(self, tested: int, others: int) -> bool:
        """Whether a tenth of the needed subjects may not be lost in the reviews."""
        return tested < 1.1 * self.tested or others < 1.1 * self.others

    def fit(self, tested: int, others: int) -> bool:
        return tested >= self.tested and others >= self.others


def find_subject_needs(recipe: Recipe) -> SubjectNeeds | None:
    """None if the shipped ratings qualify the judge, or no judge reads the answers."""
    from fine_tune_assets.judging.judges.adaptation import MIN_TRAINING_SUBJECTS
    from fine_tune_assets.judging.judges.own_domain import MIN_SUBJECTS, needs_own_ratings

    return SubjectNeeds(MIN_SUBJECTS, MIN_TRAINING_SUBJECTS, MIN_SUBJECTS) if needs_own_ratings(recipe) else None


def list_judged_subjects(recipe: Recipe, drafts: Collection[UncheckedDraft]) -> set[str]:
    """Keys of the subjects whose answers a judge reads."""
    from fine_tune_assets.judging.judges.own_domain import prose_tasks

    tasks = prose_tasks(recipe)
    return {draft.subject_key for draft in drafts if draft.task in tasks}


def count_split_subjects(split: SplitSettings, subjects: Collection[str]) -> tuple[int, int]:
    """Subjects in the test split, and the others."""
    rule = SplitRule(split)
    tested = sum(rule.assign(key) == "test" for key in subjects)
    return tested, len(subjects) - tested


def describe_subjects(recipe: Recipe, drafts: Collection[UncheckedDraft], *, has_own_keys: bool) -> Iterator[str]:
    """`has_own_keys`: whether the split of each subject is known; otherwise it is estimated."""
    needs = find_subject_needs(recipe)
    if needs is None or recipe.split.test_from is not None or not drafts:
        return
    noun, subjects = load_pack(recipe.domain).pack.subject.many, list_judged_subjects(recipe, drafts)
    tested, others = count_split_subjects(recipe.split, subjects)
    if not has_own_keys:
        tested = int(len(subjects) * recipe.split.test_fraction + 1e-9)
        others = len(subjects) - tested
    about = "" if has_own_keys else "about "
    yield (
        f"Judge: the domain {recipe.domain} has no shipped ratings. {len(subjects)} {noun} have drafts, {about}{tested} of them "
        f"in the test split. {needs.tested} in the test split are needed to qualify a judge, and {needs.others} others to adapt "
        f"the verifier ({needs.training} that train it, {needs.measuring} that measure it)."
    )
    missing = needs.tested + needs.others - len(subjects)
    if missing > 0:
        uses = [*(["qualified"] if tested < needs.tested else []), *(["adapted"] if others < needs.others else [])]
        yield (
            f"Judge: with these reports it can't be {' or '.join(uses)}. Add reports of at least {missing} other {noun} before "
            "anybody reviews."
        )
    elif not needs.fit(tested, others):
        share = (needs.tested + (len(subjects) - needs.others)) / 2 / len(subjects)
        yield (
            f"Judge: there are enough {noun}, but not in each split. Set split.test_fraction: {share:.2f} or another split.salt, "
            f"or add reports of other {noun}, before anybody reviews."
        )
    elif needs.is_tight(tested, others):
        yield (
            f"Judge: {about}{tested - needs.tested} {noun} in the test split and {about}{others - needs.others} others are "
            f"spare. If the drafts of more {noun} are rejected or dropped as duplicates, the judge can't be qualified or "
            f"adapted. Add reports of other {noun} before anybody reviews."
        )
