"""Imports a library without what it imports only because it happens to be installed.

Owns that trick. Presidio and spaCy import transformers and torch where they find them, for models that the scrubber does not
use: five of the seven seconds before it could scrub its first report, in each of its processes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_if_not_installed(*packages: str) -> Iterator[None]:
    """Within, importing one of the packages raises ImportError. One that is loaded already stays."""
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
