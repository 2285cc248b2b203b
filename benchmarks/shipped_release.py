"""Makes the release that comes with the repository: the demo's own recipe on the sample, from an empty installation.

Runs the graph, exports the release and its public key into data/shipped_release, and stores the base model's answers. The
private key is gone with the temporary installation, so each shipped release has a new key. Nothing is replaced unless the
verdict is `promote`.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pyarrow.parquet as pq
from rich.console import Console
from sample_installation import sample_installation

from fine_tune_assets.cli.asset_commands import run_graph
from fine_tune_assets.cli.main import main as fine_tune
from fine_tune_assets.cli.service_commands import prepare
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.releases.release_keys import KEY
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.shipped_release import FOLDER, PUBLIC_KEY, find_shipped_release
from fine_tune_assets.judging.judges.grade_cache import CACHE_FILE, SHIPPED_FILE, GradeCache
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.serving.services import start_services, stop_services

MOST_BYTES = 15_000_000


def main() -> None:
    began, console = time.monotonic(), Console(stderr=True)
    with _measured_anew(), sample_installation("shipped-release-") as settings:
        prepare(settings)
        start_services(settings, ("supervisor", "gateway"))
        try:
            run_graph(settings, console)
            release_id = _live(settings)
        finally:
            stop_services(settings, ("supervisor", "gateway"))
        archive = settings.data_dir.parent / f"{release_id}.tar"
        fine_tune(["releases", "export", release_id, str(archive)], standalone_mode=False)
        size = archive.stat().st_size
        if size > MOST_BYTES:
            sys.exit(f"The release has {size:,} bytes; at most {MOST_BYTES:,} are shipped.")
        _replace(settings, archive.name)
        _ship_base_answers(settings)
    print(json.dumps({"release": release_id, "bytes": size, "seconds": round(time.monotonic() - began)}))


@contextmanager
def _measured_anew() -> Iterator[None]:
    """Remove the shipped answers of the base model, and restore them if the run produces no new ones."""
    before = SHIPPED_FILE.read_bytes() if SHIPPED_FILE.is_file() else None
    SHIPPED_FILE.unlink(missing_ok=True)
    try:
        yield
    finally:
        if before is not None and not SHIPPED_FILE.is_file():
            SHIPPED_FILE.write_bytes(before)


def _live(settings: Settings) -> str:
    ledger = open_ledger(settings)
    try:
        live = find_live_deployment(ledger)
    finally:
        ledger.close()
    if live is None:
        sys.exit("No release was promoted and served: what is shipped stays as it is.")
    return live.release_id


def _ship_base_answers(settings: Settings) -> None:
    (base,) = pq.read_table(settings.layout.table("base_models")).to_pylist()
    with closing(GradeCache(settings.layout.cache / CACHE_FILE)) as cache:
        cache.ship(base["fingerprint"])


def _replace(settings: Settings, name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    before = find_shipped_release()
    shutil.copy(settings.data_dir.parent / name, FOLDER / name)
    shutil.copy(public_key_file(settings.layout.keys, KEY), FOLDER / PUBLIC_KEY)
    if before is not None and before.archive.name != name:
        before.archive.unlink()


if __name__ == "__main__":
    main()
