"""Tags of a materialization that was made with the current recipe."""

from fine_tune_assets.defs.platform.automation import CODE_VERSION
from fine_tune_assets.defs.platform.recipe_versions import training_version
from fine_tune_assets.defs.platform.resources import Installation


def trained_by_recipe() -> dict[str, str]:
    """As `adapters` records it."""
    return {CODE_VERSION: f"training={training_version(Installation().recipe)}"}
