from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.principles import category_names
from medguard.refusals import check_templates, choose_template, fill


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"principle_0": {"default": "no"}}, "unknown categories"),
        ({"default": {"english": "no"}}, "neither an ISO 639 code"),
        ({"default": {"EN": "no"}}, "neither an ISO 639 code"),
        ({"default": {"default": " \n"}}, "the refusal is empty"),
        ({"default": {"default": "call {phone}"}}, "{phone} is no place"),
        ({"default": {"default": "call {}"}}, "{} is no place"),
        ({"default": {"default": "{crisis_line.__class__}"}}, "is no place"),
        ({"default": {"default": "{crisis_line[0]}"}}, "is no place"),
        ({"default": {"default": "{crisis_line!r}"}}, "is no place"),
        ({"default": {"default": "{crisis_line:>99999}"}}, "is no place"),
        ({"default": {"default": "a { b"}}, "default, default: .* doubled"),
        ({"default": {"default": "a } b"}}, "default, default: .* doubled"),
    ],
)
def test_wrong_templates_are_refused(templates: dict[str, dict[str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_templates(templates)


@given(st.text(min_size=1).filter(str.strip), st.text(), st.sampled_from([*category_names(), None]))
def test_an_accepted_template_can_always_be_filled(
    template: str, crisis_line: str, category: str | None
) -> None:
    try:
        check_templates({"default": {"default": template}})
    except ValueError:
        return
    assert isinstance(fill(template, crisis_line=crisis_line, category=category), str)


@given(st.text())
def test_braces_of_the_crisis_line_are_left_alone(crisis_line: str) -> None:
    filled = fill("{{call}} {crisis_line}", crisis_line=crisis_line, category=None)
    assert filled == "{call} " + crisis_line


@pytest.mark.parametrize("category", category_names())
def test_every_category_has_words(category: str) -> None:
    words = fill("{category}", crisis_line="", category=category)
    assert words
    assert words != category


def test_the_category_goes_before_the_language() -> None:
    templates = {"default": {"de": "nein"}, "principle_4": {"default": "no"}}
    assert choose_template(templates, "principle_4", "de") == "no"
    assert choose_template(templates, "principle_5", "de") == "nein"
    assert choose_template(templates, "principle_5", "en") is None
    assert choose_template(templates, None, None) is None
