"""What a training reads."""

INPUTS = {
    "judge_scores": ["adapters", "gate"],
    "promotion_verdicts": ["adapters", "judge_scores"],
    "merged_weights": ["adapters", "promotion_verdicts"],
    "quantized_weights": ["adapters", "merged_weights"],
    "releases": ["adapters", "merged_weights", "quantized_weights"],
    "served_models": ["releases"],
}
"""As in the real graph; every stage depends on the adapter itself too, to know what its input is about."""
