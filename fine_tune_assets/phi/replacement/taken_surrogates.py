"""Surrogates that turned out to be somebody's real value: a batch that came later holds it.

Owns how such batches are found. Compares keyed hashes; the values are nowhere.
"""

from pathlib import Path

from fine_tune_assets.tables.duck import cursor

_QUERY = """
with found as (select value_hash, role, parse_filename(filename, true) as batch from read_parquet(?, filename = true)),
     originals as (select distinct value_hash from found where role = 'original')
select batch, value_hash from found join originals using (value_hash) where role = 'surrogate' order by batch, value_hash
"""


def taken_surrogates(values: Path) -> dict[str, list[str]]:
    """Batch → keyed hashes of its surrogates that occur in a report of any batch. `values` holds `identifier_values` files."""
    if not any(values.glob("*.parquet")):
        return {}
    taken: dict[str, list[str]] = {}
    with cursor() as asking:
        for batch, value_hash in asking.execute(_QUERY, [str(values / "*.parquet")]).fetchall():
            taken.setdefault(batch, []).append(value_hash)
    return taken
