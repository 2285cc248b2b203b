"""Where everything lies below the data folder. Owns the names of folders; creates none of them."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parents[1]
PROJECT_DIR = PACKAGE_DIR.parent


@dataclass(frozen=True)
class Layout:
    """The folders of one installation, all below `data_dir`."""

    data_dir: Path

    @property
    def raw_reports(self) -> Path:
        """One folder a batch, as people drop them."""
        return self.data_dir / "raw_reports"

    @property
    def general(self) -> Path:
        """General instruction data that is mixed in, with licences."""
        return self.data_dir / "general"

    @property
    def evaluation(self) -> Path:
        """Labelled sets that measure the scrubber, the judge and retained abilities."""
        return self.data_dir / "evaluation"

    @property
    def tagger_training(self) -> Path:
        """Labelled reports that a tagger learns from."""
        return self.data_dir / "tagger_training"

    @property
    def taggers(self) -> Path:
        """Taggers that were trained here, a folder each, named by their fingerprint."""
        return self.data_dir / "taggers"

    @property
    def tables(self) -> Path:
        """Parquet, one folder an asset."""
        return self.data_dir / "tables"

    @property
    def instruction_sets(self) -> Path:
        return self.data_dir / "instruction_sets"

    @property
    def base_models(self) -> Path:
        return self.data_dir / "base_models"

    @property
    def adapters(self) -> Path:
        return self.data_dir / "adapters"

    @property
    def tensorboard(self) -> Path:
        """Event files of trainings, a folder each, named by the adapter."""
        return self.data_dir / "tensorboard"

    @property
    def sweeps(self) -> Path:
        """What the trials of each sweep found, a folder each."""
        return self.data_dir / "sweeps"

    @property
    def weights(self) -> Path:
        """Merged weights, a folder each, named by their fingerprint, and beside it its exports and the answers to their probes:
        files and folders named by the folder and the format."""
        return self.data_dir / "weights"

    @property
    def releases(self) -> Path:
        return self.data_dir / "releases"

    @property
    def verdicts(self) -> Path:
        """Signed documents of verdicts, a folder each, named by its id."""
        return self.data_dir / "verdicts"

    @property
    def knowledge(self) -> Path:
        """Documents that answers may rest on, as people drop them."""
        return self.data_dir / "knowledge"

    @property
    def knowledge_indexes(self) -> Path:
        """A folder each, named by its fingerprint."""
        return self.data_dir / "knowledge_indexes"

    @property
    def keys(self) -> Path:
        """Secret keys of this installation; readable by its user only."""
        return self.data_dir / "keys"

    @property
    def cache(self) -> Path:
        """What can be made again, only slower."""
        return self.data_dir / "cache"

    @property
    def training_checkpoints(self) -> Path:
        """Of the training that is going on. In the cache, which is emptied when a patient is erased."""
        return self.cache / "training"

    @property
    def run(self) -> Path:
        """Pid files and logs of services."""
        return self.data_dir / "run"

    @property
    def running_steps(self) -> Path:
        """A small file for each step that runs: how far it is."""
        return self.run / "steps"

    def table(self, asset: str, partition: str | None = None) -> Path:
        """The Parquet file of an asset, or of one of its partitions."""
        return self.tables / asset / f"{partition or asset}.parquet"
