"""A gateway that looks for identifiers in answers."""

import asyncio

from fine_tune_assets.gateway.answers.identifier_detector import Detector
from fine_tune_assets.recipes.loader import load_recipe

SCRUB = load_recipe("demo_smollm2").scrubber


class Looking(Detector):
    """Counts the invented name, in this process."""

    def __init__(self, is_ready: bool = True) -> None:
        super().__init__(SCRUB)
        self.is_ready = is_ready
        self.scanned: list[str] = []

    async def keep_ready(self) -> None:
        await asyncio.sleep(3600)

    async def count(self, text: str, prompt_text: str) -> int | None:
        self.scanned.append(text)
        return (0 if "Zyxomark" in prompt_text else text.count("Zyxomark")) if self.is_ready else None
