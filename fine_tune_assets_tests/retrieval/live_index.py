"""An index that is live."""

from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.embeddings.encoder import encoder_version
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.live_indexes import activate_index
from fine_tune_assets.retrieval.documents import Document
from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.retrieval.search import index_format
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.retrieval.small_index import make_index

FORMAT = index_format(encoder_version())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return fresh_ledger(settings)


def go_live(settings: Settings, ledger: Ledger, *documents: Document) -> str:
    folder = settings.layout.knowledge_indexes
    index = make_index(folder, LanceStore(folder), *documents)
    activate_index(
        ledger, index_fingerprint=index.fingerprint, format_fingerprint=FORMAT, store="lancedb", chunks=1, is_passed=True,
        evidence={}, by="test",
    )  # fmt: skip
    return index.fingerprint
