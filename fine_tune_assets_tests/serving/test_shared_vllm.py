"""Two product lines on one base model: one vLLM process serves an adapter for each. Needs `make setup-vllm`."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.product_lines import create_line, link_shared_folders
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.releases.release_folders import WEIGHTS, read_release
from fine_tune_assets.core.settings import Settings, load_settings, select_line
from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.processes import ProcessIdentity, read_identity
from fine_tune_assets.engines.running_server import PROCESS_FILE, RunningEngine, greedy_answer
from fine_tune_assets.engines.shared_vllm import ALIAS
from fine_tune_assets.ledger.serving.deployments import find_deployment, request_deployment
from fine_tune_assets.merging.served_adapter import write_served_adapter
from fine_tune_assets.recipes.export_settings import LORA_SAFETENSORS
from fine_tune_assets.serving.adapter_releases import shared_root
from fine_tune_assets.serving.engine_start import GIB, estimate_memory
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.merging.adapter_factory import make_adapter
from fine_tune_assets_tests.serving.story_streams import streams_begun
from fine_tune_assets_tests.serving.tiny_releases import engine_of, put_release

PYTHON = load_settings().vllm_interpreter
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("serving"),
    pytest.mark.skipif(not PYTHON.is_file(), reason="vLLM is not installed: make setup-vllm"),
]
TIMINGS = SupervisorTimings(warm_up_timeout_seconds=300, stop_grace_seconds=60)
QUESTION = [{"role": "user", "content": "Name three fruits."}]


class _Line:
    """A product line with one release, served by its own supervisor."""

    def __init__(self, settings: Settings, base: Path, adapter: Path) -> None:
        self.settings, self.ledger = settings, fresh_ledger(settings)
        contract = read_prompt_contract(base, "You are brief.")

        def fill(folder: Path) -> None:
            (folder / WEIGHTS).mkdir()
            write_served_adapter(adapter, base, folder / WEIGHTS)

        facts: dict[str, Any] = {"format": LORA_SAFETENSORS, "base_model": "SmolLM2"}
        self.release_id = put_release(
            settings, self.ledger, contract, fill, engine="vllm", base_fingerprint=fingerprint_folder(base), **facts
        )
        self.supervisor = Supervisor(settings, self.ledger, TIMINGS)
        self.name = request_deployment(self.ledger, self.release_id).deployment_id

    @property
    def engine(self) -> RunningEngine:
        return engine_of(self.settings, self.name)

    @property
    def is_ready(self) -> bool:
        found = find_deployment(self.ledger, self.name)
        assert found is not None
        assert found.state != "failed", found.detail
        return found.state == "ready" and found.engine_url is not None

    def answer(self) -> str:
        with open_client(self.engine.url, self.engine.api_key, 120) as client:
            return greedy_answer(client, self.engine, QUESTION, 12).text

    def close(self) -> None:
        self.supervisor.close()
        self.ledger.close()


def _tick_until(lines: list[_Line], is_done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline
        for line in lines:
            line.supervisor.tick(datetime.now(UTC))
        time.sleep(0.1)


@pytest.fixture(scope="module")
def lines(smollm2: Path) -> Iterator[tuple[_Line, _Line]]:
    """One start for all tests. In a short folder, because a socket's path has at most 107 bytes."""
    go_offline()
    folder = Path(tempfile.mkdtemp(prefix="lines-"))
    main = changed(Settings(data_dir=folder), vllm={"python": str(PYTHON), "kv_cache_gb": 1}, threads=1)
    base = main.layout.base_models / smollm2.name
    base.parent.mkdir(parents=True)
    base.symlink_to(smollm2)
    create_line(main, "law", "law_contracts")
    law = select_line(main, "law")
    link_shared_folders(law)
    made = [
        _Line(settings, smollm2, make_adapter(smollm2, folder / settings.line / "adapter", scale=scale))
        for settings, scale in ((main, 1.0), (law, 3.0))
    ]
    try:
        _tick_until(made, lambda: all(line.is_ready for line in made), 600)
        yield made[0], made[1]
    finally:
        for line in made:
            line.close()
        (shared,) = (path for path in shared_root(main).iterdir() if path.is_dir())
        assert not (shared / PROCESS_FILE).exists()  # the last one to stop has stopped vLLM
        shutil.rmtree(folder)


def _shared_process(line: _Line) -> ProcessIdentity:
    (folder,) = (path for path in shared_root(line.settings).iterdir() if path.is_dir())
    identity = read_identity(folder / PROCESS_FILE)
    assert identity is not None
    return identity


def test_two_lines_answer_with_their_own_adapters_from_one_process(lines: tuple[_Line, _Line]) -> None:
    main, law = lines
    assert _shared_process(main) == _shared_process(law)
    assert main.answer() != law.answer()
    assert main.answer() == main.answer()


def test_a_further_adapter_needs_memory_for_itself_alone(lines: tuple[_Line, _Line]) -> None:
    """Otherwise a second line would be refused on a machine that has room for it."""
    main = lines[0]
    release = read_release(main.settings.layout.releases / main.release_id)
    assert estimate_memory(release, main.settings, 1).total_bytes < GIB / 4


def test_a_server_answers_for_its_own_adapter_and_key_alone(lines: tuple[_Line, _Line]) -> None:
    """vLLM itself would answer for every adapter, and with the base model."""
    main, law = lines
    body = {"messages": QUESTION, "max_tokens": 1}
    with open_client(main.engine.url, main.engine.api_key, 60) as client:
        assert [model["id"] for model in client.get("models").json()["data"]] == [main.release_id]
        for model in (law.release_id, ALIAS, None):
            assert client.post("chat/completions", json={**body, "model": model}).status_code == 404
        assert client.post("load_lora_adapter", json={}).status_code == 404
    with open_client(main.engine.url, law.engine.api_key, 60) as client:
        assert client.get("models").status_code == 401
        assert client.post("chat/completions", json={**body, "model": main.release_id}).status_code == 401


def test_a_stop_completes_answers_and_leaves_the_other_line(lines: tuple[_Line, _Line]) -> None:
    """A deployment in one line must not interrupt another."""
    main, law = lines
    process, before = _shared_process(law), law.answer()
    threads, got = streams_begun(main.engine, 2, 40)
    os.kill(main.engine.identity.pid, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert got == [True, True]
    assert law.answer() == before
    _tick_until(list(lines), lambda: not main.is_ready, 30)
    _tick_until(list(lines), lambda: main.is_ready, 120)
    assert _shared_process(law) == process


def test_a_killed_server_is_started_again_with_its_adapter(lines: tuple[_Line, _Line]) -> None:
    """It had no time to unload the adapter, which vLLM would refuse to load twice."""
    main, law = lines
    process, before = _shared_process(law), main.answer()
    os.kill(main.engine.identity.pid, signal.SIGKILL)
    _tick_until(list(lines), lambda: not main.is_ready, 30)
    _tick_until(list(lines), lambda: main.is_ready, 120)
    assert main.answer() == before
    assert _shared_process(law) == process


def test_both_lines_return_after_vllm_has_died(lines: tuple[_Line, _Line]) -> None:
    main, law = lines
    process, before = _shared_process(main), (main.answer(), law.answer())
    os.kill(process.pid, signal.SIGKILL)
    _tick_until(list(lines), lambda: not main.is_ready and not law.is_ready, 60)
    _tick_until(list(lines), lambda: main.is_ready and law.is_ready, 600)
    assert (main.answer(), law.answer()) == before
    assert _shared_process(main) == _shared_process(law) != process
