"""What a replacement profile removes, generalises or keeps.

Owns the two profiles and what they may be called in law. Does not replace anything.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from fine_tune_assets.core.errors import FineTuneError

ProfileName = Literal["safe_harbor", "limited_dataset"]


class ProfileError(FineTuneError):
    """There is no such profile."""


@dataclass(frozen=True)
class Profile:
    """How dates, ages and places are treated; everything else is a surrogate in every profile.

    safe_harbor: 45 CFR 164.514(b)(2). Dates become years, ages over 89 become one class, places below the state are invented.
    limited_dataset: 45 CFR 164.514(e)(2). Dates, ages, towns, states and ZIP codes stay; it is still protected health
    information and needs a data use agreement.
    """

    name: ProfileName
    shift_dates: bool

    def __post_init__(self) -> None:
        if self.name not in get_args(ProfileName):
            raise ProfileError(f"There is no such replacement profile. Use one of: {', '.join(get_args(ProfileName))}.")

    @property
    def keeps_towns(self) -> bool:
        return self.name == "limited_dataset"

    @property
    def keeps_dates(self) -> bool:
        return self.name == "limited_dataset" and not self.shift_dates

    @property
    def keeps_ages(self) -> bool:
        return self.name == "limited_dataset"

    @property
    def legal_basis(self) -> str:
        """What the text may be called. A shifted date is derived from the real one, so it is never Safe Harbor."""
        if self.name == "limited_dataset":
            return "limited data set, 45 CFR 164.514(e)"
        if self.shift_dates:
            return "expert determination, 45 CFR 164.514(b)(1)"
        return "Safe Harbor, 45 CFR 164.514(b)(2)"
