"""What mends a failed check that only warns, for the end of a command: the setting, page or command, by the check's name."""

from collections.abc import Mapping

CHECK_REMEDIES: Mapping[str, str] = {
    "training_memory_matches_plan": "`fine-tune plan RECIPE` measures again.",
    "answers_are_grounded": "The page Verdicts lists the answers.",
    "answers_match_format": "The page Verdicts lists the answers.",
    "documents_are_answered_from": "The page Verdicts lists the answers.",
    "drafts_contain_complete_sections": "Name real headings in the task's `other_headings`, or set its `inline_headings`, "
    "then run `fine-tune materialize drafted_examples`.",
    "erasures_are_complete": "Run `fine-tune subjects erase KEY --reason REASON` again.",
    "judge_is_qualified": "After a training, rate more answers on the desk, then run `fine-tune materialize judge_agreement`.",
    "every_document_is_readable": "Repair the documents in the table `unreadable_documents`, then run `fine-tune materialize "
    "knowledge_chunks`.",
    "no_training_text_is_extractable": "The page Verdicts explains the attacks; a lower `training.epochs` memorizes less.",
    "every_model_draft_is_written": "Run `fine-tune materialize model_drafts`; its log says what is missing.",
    "tagger_beats_spacy": "Add labelled reports to `data/tagger_training`, then run `fine-tune materialize phi_taggers`.",
    "production_traffic_matches_training": "Correct answers to the new requests; `fine-tune materialize production_drift` "
    "measures again.",
    "candidate_beats_incumbent": "The page Verdicts names the next step.",
    "candidate_has_no_regression": "The page Verdicts names the next step.",
    "every_export_matches_merged_weights": "Run `fine-tune materialize quantized_weights` to export again.",
    "batch_has_readable_reports": "`fine-tune batch check FOLDER` names each file and its remedy.",
    "abilities_are_within_budget": "A higher share of general data in `mix` keeps abilities.",
    "candidate_is_as_robust_as_base_model": "The page Verdicts lists the cases.",
    "no_report_is_withheld": "`scrub.withhold_score` decides; `fine-tune materialize scrubbed_reports` scrubs again.",
    "ordinary_words_are_kept": "List them in `protected_words.txt`, or a form in `kept_values`, of the domain pack; then run "
    "`fine-tune materialize`.",
    "no_surrogate_is_a_real_value": "Run `fine-tune materialize` to scrub the batch again.",
    "production_model_excludes_erased_subjects": "Run `fine-tune materialize adapters+` to train without them.",
    "production_model_uses_only_approved_examples": "Run `fine-tune materialize adapters+` to train without them.",
    "batch_folders_are_present": "Restore the folders in `data/raw_reports`.",
    "reports_are_in_english": "`fine-tune batch check FOLDER` counts them by file. Scrubber and judge know English only.",
    "every_readable_report_is_accounted_for": "Run `fine-tune materialize`; the account names the batches.",
}
