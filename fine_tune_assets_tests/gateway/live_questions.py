"""Questions about live documents."""

TEMPLATE = "{passages}\n\n{question}"
"""Simpler than the recipe's template, which an untrained 135M model can't follow: it answers with the document's number."""
QUESTION = "How many days of paid time off a year do full-time staff have?"
