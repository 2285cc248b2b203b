"""Assigns a patient to a split, for ever.

Owns the rule: a keyed hash of the patient key, and nothing else, decides. So no new data moves a patient, and no
patient is in two splits. Does not know how many patients there are; small sets can miss the fractions.
"""

from typing import Literal

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_HEX_DIGITS = 13
"""52 bits of the hash: as many as a float holds exactly."""


def split_of(patient_key: str, salt: str, validation_fraction: float, test_fraction: float) -> Split:
    """The split of a patient. Test takes the lowest hashes, validation the next, train the rest.

    So a larger validation fraction takes patients from train only, and test stays as it was. Raises RecipeError if the
    two fractions leave nothing to train on.
    """
    if validation_fraction + test_fraction >= 1:
        raise RecipeError("split: validation_fraction and test_fraction together must stay below 1.")
    place = int(keyed_hash(salt.encode("utf-8"), patient_key)[:_HEX_DIGITS], 16) / 16**_HEX_DIGITS
    if place < test_fraction:
        return "test"
    return "validation" if place < test_fraction + validation_fraction else "train"
