"""The form below an answer."""

import html
import re

BETTER = {"corrected_answer": "A cough.", "error_kind": "wrong_fact", "severity": "low"}


def form_of(shown: str) -> dict[str, str]:
    """The fields that the page's correction form sends."""
    form = shown.split('class="fields correction"')[1].split("</form>")[0]
    fields = re.findall(r'name="(\w+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in fields} | BETTER
