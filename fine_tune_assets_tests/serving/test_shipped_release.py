"""The release that the repository ships, so that a new installation can answer before its first training."""

from pathlib import Path

import pytest
import yaml

from fine_tune_assets.cli.releases.release_imports import ImportRequest, import_release
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.releases.release_archives import unpack_release
from fine_tune_assets.core.releases.release_folders import ReleaseFolder, read_release
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.shipped_release import ShippedRelease, find_shipped_release
from fine_tune_assets.engines.bundled_model import bundled_gguf
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.imported_releases import find_import
from fine_tune_assets.ledger.serving.switch_log import find_production_adapter
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.recipe_parts import dump_for_release
from fine_tune_assets_tests.serving.tiny_releases import switched

MOST_BYTES = 15_000_000


@pytest.fixture(scope="module")
def shipped() -> ShippedRelease:
    found = find_shipped_release()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def release(shipped: ShippedRelease, tmp_path_factory: pytest.TempPathFactory) -> ReleaseFolder:
    folder = tmp_path_factory.mktemp("shipped")
    unpack_release(shipped.archive, shipped.public_key, folder)
    return read_release(folder)


def test_the_shipped_release_is_small_and_the_only_one(shipped: ShippedRelease) -> None:
    """Every clone contains it. Only the archive and the public key are committed, never the private key."""
    assert shipped.archive.stat().st_size <= MOST_BYTES
    assert {path.name for path in shipped.archive.parent.iterdir()} == {shipped.archive.name, shipped.public_key.name}
    assert b"PRIVATE" not in shipped.public_key.read_bytes()


def test_the_shipped_release_was_built_with_the_current_demo_recipe(release: ReleaseFolder) -> None:
    """If this fails, the recipe or its schema has changed: run `make shipped-release`."""
    made_by = yaml.safe_load((release.folder / "recipe.yaml").read_text(encoding="utf-8"))
    assert made_by == yaml.safe_load(yaml.safe_dump(dump_for_release(load_recipe("demo_smollm2"))))
    assert release.manifest["verdict_decision"] == "promote"


def test_the_shipped_release_belongs_to_the_bundled_base_model(release: ReleaseFolder) -> None:
    base = bundled_gguf()
    assert base is not None
    assert release.base_gguf == fingerprint_file(base)


def test_a_new_installation_imports_and_probes_the_shipped_release(
    shipped: ShippedRelease, settings: Settings, ledger: Ledger
) -> None:
    """As `make demo` does. While it is live, candidates are compared with the base model."""
    lines: list[str] = []
    given = ImportRequest(shipped.archive, shipped.public_key, "demo", is_placeholder=True)
    assert import_release(given, settings, ledger, lines.append) == shipped.release_id
    assert any("probes on this machine" in line for line in lines)
    switched(ledger, shipped.release_id)
    found = find_import(ledger, shipped.release_id)
    assert found is not None
    assert found.is_placeholder
    assert find_production_adapter(ledger) is None


def test_a_changed_byte_in_the_shipped_release_is_refused(
    shipped: ShippedRelease, settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    changed = bytearray(shipped.archive.read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / shipped.archive.name).write_bytes(changed)
    with pytest.raises(Exception, match=r"adapter\.gguf"):
        import_release(
            ImportRequest(tmp_path / shipped.archive.name, shipped.public_key, "demo"), settings, ledger, lambda _: None
        )
    assert find_import(ledger, shipped.release_id) is None
