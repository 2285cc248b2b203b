"""Fine-tunes open-weight models on a house's own reports, inside its own network."""

import gc

# With Python's thresholds, importing torch, transformers or Dagster takes a fifth longer, for garbage that is not there.
gc.set_threshold(50_000, 20, 20)
