"""Asks a release its own probes on this machine, in an engine of its own that no user is sent to and that ends right after.

Owns that engine's life. A killed command leaves it in the folder of engines, where the supervisor's next start or
`fine-tune down` ends it.
"""

import shutil
import uuid

from fine_tune_assets.core.releases import ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running import EngineError, stop_engine, wait_until_healthy, warm_up
from fine_tune_assets.serving.left_engines import ENGINES
from fine_tune_assets.serving.probing import Findings, probe_engine
from fine_tune_assets.serving.reconciling import Pace
from fine_tune_assets.serving.starting import require_room, start_for


def probe_here(release: ReleaseFolder, settings: Settings, pace: Pace | None = None) -> Findings:
    """Raises ProbeError if it answers otherwise than it was judged, EngineError if it does not fit, start or answer. Its log
    stays only in the latter case, which names it."""
    pace = pace or Pace()
    require_room(release, settings)
    folder = settings.layout.run / ENGINES / f"probing-{uuid.uuid4().hex}"
    try:
        engine = start_for(release, folder, settings)
        try:
            wait_until_healthy(engine, pace.startup_seconds)
            warm_up(engine, release.system_prompt, pace.warm_up_seconds)
            findings = probe_engine(engine, release, pace.warm_up_seconds)
        finally:
            stop_engine(engine, pace.stop_grace_seconds, is_hung=True)  # it owes nobody an answer
    except EngineError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return findings
