"""What a blocked person reads: templates by category and language, with a place for a crisis line. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Final

from medguard.principles import GENERAL_HARM, PRINCIPLES, category_names, principle_category

__all__ = ["DEFAULT", "check_templates", "choose_template", "fill"]

DEFAULT: Final = "default"
"""Stands for every category, or every language, that has no entry of its own."""

_PLACES: Final = ("crisis_line", "category")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")
_CATEGORY_WORDS: Final = {
    **{principle_category(number): words for number, words in PRINCIPLES.items()},
    GENERAL_HARM: "harm outside medicine",
}


def check_templates(templates: Mapping[str, Mapping[str, str]]) -> None:
    """Accept templates by category and language.

    Raises:
        ValueError: An unknown category, no ISO 639 code, an empty template, or a place that does not exist.
    """
    known = (*category_names(), DEFAULT)
    if unknown := sorted(set(templates) - set(known)):
        raise ValueError(f"unknown categories {unknown}; known are {', '.join(known)}")
    for category, by_language in templates.items():
        for language, template in by_language.items():
            if language != DEFAULT and not _LANGUAGE.fullmatch(language):
                raise ValueError(f"{category}: {language!r} is neither an ISO 639 code nor {DEFAULT!r}")
            _check_template(template, f"{category}, {language}")


def choose_template(
    templates: Mapping[str, Mapping[str, str]], category: str | None, language: str | None
) -> str | None:
    """Choose the template for a category, then for a language; None where there is none for either."""
    for name in (category, DEFAULT):
        by_language = {} if name is None else templates.get(name, {})
        for code in (language, DEFAULT):
            if code is not None and code in by_language:
                return by_language[code]
    return None


def fill(template: str, *, crisis_line: str, category: str | None) -> str:
    """Put the crisis line and the category's name (in English) into a template."""
    words = "medical ethics" if category is None else _CATEGORY_WORDS[category]
    return template.format(crisis_line=crisis_line, category=words)


def _check_template(template: str, where: str) -> None:
    if not template.strip():
        raise ValueError(f"{where}: the refusal is empty")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{where}: {error} (a brace of the text itself is doubled)") from error
    for _, place, form, conversion in parts:
        if place is not None and (place not in _PLACES or form or conversion):
            raise ValueError(
                f"{where}: {{{place}}} is no place; there are "
                + " and ".join(f"{{{name}}}" for name in _PLACES)
                + " (a brace of the text itself is doubled)"
            )
