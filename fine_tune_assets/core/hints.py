"""The one wording of "materialize this next", with commands that work whether the Dagster daemon runs or not.

Owns the words. What the command does is `cli/graph.py`'s: it does the work itself, or has the daemon do it.
"""


def materialize_hint(*assets: str) -> str:
    """Name the assets in the order in which they have to be made; none: whatever is not up to date."""
    if not assets:
        return "Run `fine-tune materialize`; while the Dagster daemon runs, it does this automatically."
    return f"Run {', then '.join(f'`fine-tune materialize {asset}`' for asset in assets)}."
