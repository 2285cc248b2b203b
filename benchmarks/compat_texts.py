"""Prompts for every reader of a model folder. Imports nothing, so that any environment can import it."""

TEXTS = (
    "Patient seen on 12/03, BP 128/84, 10 mg twice daily.\n\n2. Type 2 diabetes\n\n\n3 months",
    "It's 🙂 for Straße 45",
)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXTS[0]}]
