"""The replacement profiles: what each removes, generalises or keeps, and its legal basis."""

from dataclasses import dataclass
from typing import Literal, get_args

from fine_tune_assets.core.errors import FineTuneError

ProfileName = Literal["safe_harbor", "limited_dataset"]


class ProfileError(FineTuneError):
    """The profile does not exist."""


@dataclass(frozen=True)
class Profile:
    """How dates, ages and places are treated; every other kind is replaced by a surrogate in each profile.

    safe_harbor: 45 CFR 164.514(b)(2). Dates become years, ages over 89 become one class, places below the state are invented.
    limited_dataset: 45 CFR 164.514(e)(2). Dates, ages, towns, states and ZIP codes are kept; the text is still protected health
    information and requires a data use agreement.
    """

    name: ProfileName
    shift_dates: bool

    def __post_init__(self) -> None:
        if self.name not in get_args(ProfileName):
            raise ProfileError(
                f"Replacement profile {self.name} does not exist. Use one of: {', '.join(get_args(ProfileName))}."
            )

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
        """The legal category of the text. A shifted date is derived from the real one, so it never qualifies as Safe Harbor."""
        if self.name == "limited_dataset":
            return "limited data set, 45 CFR 164.514(e)"
        if self.shift_dates:
            return "expert determination, 45 CFR 164.514(b)(1)"
        return "Safe Harbor, 45 CFR 164.514(b)(2)"
