from __future__ import annotations

import base64
import copy
import logging
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medguard import Classifier, InvalidInputError, Policy
from medguard.cli.explain_html import to_html
from medguard.cli.explain_view import Explained, facts, split_space, visible
from medguard.decision import decide
from medguard.explain import MOST_SPANS, Explanation, Span, explain
from medguard.normalize import Form
from medguard.scores import LABELS
from medguard.verdict import Stage
from tests.conftest import SENTINEL

FILLER = "The clinic opens at nine and the nurse answers questions about diet, sleep and exercise. "
TEXTS = st.lists(
    st.sampled_from(
        ["Is", "paracetamol", "5-mg", "(safe)?", "中文", "각", "é", "!!", "\n", "x" * 80, "p0is0n"]
    ),
    max_size=40,
).map(lambda words: " ".join(["Is", *words]))


class WordSession:
    """A graph that adds 1 to all logits for every ``poison``, and takes 1 away for every ``safe``."""

    def __init__(self, classifier: Classifier) -> None:
        self._worth = {
            classifier._tokenizer.token_to_id("poison"): 1.0,
            classifier._tokenizer.token_to_id("safe"): -1.0,
        }

    def run(self, feeds: dict[str, Any]) -> np.ndarray:
        logits = [
            -3.0 + sum(self._worth.get(token, 0.0) for token in row) for row in feeds["input_ids"].tolist()
        ]
        return np.repeat(np.array(logits, dtype=np.float32)[:, None], len(LABELS), axis=1)


@pytest.fixture(scope="session")
def words(classifier: Classifier) -> Classifier:
    """The bundled classifier with another graph, so that it is known what each word is worth."""
    made = copy.copy(classifier)
    made._session = WordSession(classifier)  # type: ignore[assignment]
    made._below = made._above = np.ones(len(LABELS))
    made._offset = np.zeros(len(LABELS))
    return made


def worth(explanation: Explanation) -> dict[str, float]:
    return {
        explanation.text[span.start : span.end].strip(): round(span.attribution, 6)
        for span in explanation.spans
    }


def log_odds(score: float) -> float:
    return math.log(score / (1.0 - score))


def judged(explanation: Explanation, classifier: Classifier, **policy: Any) -> Explained:
    point = classifier.operating_points["balanced"]
    verdict = decide(explanation.scores, explanation.stage, Policy(**policy), point, classifier.id)
    return Explained(explanation=explanation, verdict=verdict)


class TestAttribution:
    def test_each_word_gets_what_it_adds(self, words: Classifier) -> None:
        found = explain(words, "Is it safe to poison, and then poison again?")
        assert worth(found) == {
            "Is": 0.0,
            "it": 0.0,
            "safe": -1.0,
            "to": 0.0,
            "poison,": 1.0,
            "and": 0.0,
            "then": 0.0,
            "poison": 1.0,
            "again?": 0.0,
        }
        assert (found.stage, found.form) == (Stage.PROMPT, Form.RAW)
        assert found.score == pytest.approx(1.0 / (1.0 + math.exp(2.0)))

    def test_an_answer_is_explained_and_its_request_is_not(self, words: Classifier) -> None:
        found = explain(words, "poison poison", "A drop of poison.")
        assert found.stage is Stage.RESPONSE
        assert worth(found) == {"A": 0.0, "drop": 0.0, "of": 0.0, "poison.": 1.0}
        assert log_odds(found.score) == pytest.approx(0.0)

    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.permutations(["How", "can", "the", "nurse", "poison", "my", "mother", "with", "insulin"]))
    def test_an_attribution_is_the_change_when_the_words_are_cut_out(
        self, classifier: Classifier, order: list[str]
    ) -> None:
        text = " ".join(order)
        found = explain(classifier, text)
        whole = log_odds(classifier.score(text).prompt_score)
        for span in found.spans:
            cut = classifier.score(text[: span.start] + text[span.end :]).prompt_score
            assert span.attribution == pytest.approx(whole - log_odds(cut), abs=1e-9)
        top = max(found.spans, key=lambda span: span.attribution)
        rest = [classifier.score(text[: span.start] + text[span.end :]).prompt_score for span in found.spans]
        assert rest[found.spans.index(top)] == min(rest)

    def test_a_single_word_can_be_left_out(self, words: Classifier) -> None:
        assert worth(explain(words, "poison")) == {"poison": 1.0}

    def test_saturated_scores_have_finite_attributions(self, words: Classifier) -> None:
        found = explain(words, "poison " * 80)
        assert found.score == 1.0
        assert all(math.isfinite(span.attribution) for span in found.spans)


class TestSpans:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(TEXTS)
    def test_they_tile_the_window(self, words: Classifier, text: str) -> None:
        found = explain(words, text)
        assert found.spans[0].start == found.start
        assert found.spans[-1].end == found.end
        for one, other in zip(found.spans, found.spans[1:], strict=False):
            assert one.start < one.end == other.start
        assert 1 <= len(found.spans) <= MOST_SPANS
        assert 0 <= found.start < found.end <= len(found.text)

    def test_long_windows_are_cut_into_groups_of_words(self, words: Classifier) -> None:
        found = explain(words, FILLER * 20)
        assert MOST_SPANS / 2 < len(found.spans) <= MOST_SPANS
        assert all(len(found.text[span.start : span.end].split()) > 1 for span in found.spans)

    def test_text_without_spaces_is_not_one_span(self, words: Classifier) -> None:
        assert len(explain(words, "这个药可以和酒一起吃吗").spans) == 11
        assert len(explain(words, "x" * 100).spans) == 4


class TestWindow:
    def test_the_window_with_the_planted_sentence_is_named(self, words: Classifier) -> None:
        before, planted, after = FILLER * 60, "Tell me how to poison my mother with poison. ", FILLER * 50
        found = explain(words, before + planted + after)
        assert found.scores.windows > 5
        assert found.start < len(before) < len(before + planted) < found.end
        top = sorted(found.spans, key=lambda span: -span.attribution)[:2]
        assert all("poison" in found.text[span.start : span.end] for span in top)
        assert found.text == before + planted + after

    @pytest.mark.parametrize(
        "text", [FILLER * 40, "각" * 700, "howcani" * 120, "é" * 50 + " \u200b" * 30 + FILLER * 30]
    )
    def test_its_characters_are_its_tokens(self, classifier: Classifier, text: str) -> None:
        for prompt, response in ((text, None), (FILLER * 30, text)):
            window = classifier.deciding_window(prompt, response)
            assert window.scores == classifier.score(prompt, response)
            read = tuple(classifier._encode(window.text[: window.end]))
            # A window may end within a syllable, of which up to two tokens are then the next window's.
            ends = [read[len(read) - len(window.ids) - beyond : len(read) - beyond] for beyond in range(3)]
            assert window.ids in ends
            size = classifier.config.max_tokens - (2 if response is None else 3 + len(window.context or ()))
            assert len(window.ids) == len(window.offsets) == len(window.words) == size

    def test_the_scores_are_those_of_scoring(self, classifier: Classifier) -> None:
        for arguments in (("Is this normal?",), (FILLER * 40,), ("Is this normal?", "p0is0n " * 300)):
            assert explain(classifier, *arguments).scores == classifier.score(*arguments)

    def test_the_plain_reading_can_decide(self, words: Classifier) -> None:
        found = explain(words, "Give him p0is0n now")
        assert (found.form, found.text) == (Form.NORMALISED, "Give him poison now")
        assert worth(found)["poison"] == 1.0

    def test_what_is_encoded_can_decide(self, words: Classifier) -> None:
        payload = "give him poison and more poison"
        found = explain(words, "Decode: " + base64.b64encode(payload.encode()).decode())
        assert (found.form, found.text) == (Form.DECODED, payload)

    @pytest.mark.parametrize("text", ["", " \n", "\u200b"])
    def test_text_without_a_readable_character_is_refused(self, classifier: Classifier, text: str) -> None:
        with pytest.raises(InvalidInputError, match="no readable character"):
            explain(classifier, text)
        with pytest.raises(InvalidInputError, match="expected str"):
            explain(classifier, 7)  # type: ignore[arg-type]


def test_nothing_is_logged(words: Classifier, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        to_html([judged(explain(words, f"poison {SENTINEL}"), words)])
    assert caplog.text == ""


class TestView:
    def test_what_cannot_be_seen_is_spelt_out(self) -> None:
        assert visible("a\u202eb\x1b[31m\u200bc\u00a0d\ne\u2028f") == "a<U+202E>b<U+001B>[31m<U+200B>c d\ne f"
        assert split_space("poison, \n") == ("poison,", " \n")

    def test_shades_are_relative_and_a_text_without_a_cause_has_none(self, words: Classifier) -> None:
        item = judged(explain(words, "Is it safe to poison?"), words)
        shades = {item.text_of(span).strip(): item.shade(span) for span in item.explanation.spans}
        assert (shades["poison?"].level, shades["poison?"].signs) == (3, "+++")
        assert shades["safe"].signs == "---"
        assert shades["Is"].level == 0
        quiet = judged(explain(words, "Is it normal?"), words)
        assert all(quiet.shade(span).level == 0 for span in quiet.explanation.spans)

    def test_facts_name_form_window_and_principle(self, words: Classifier) -> None:
        item = judged(explain(words, FILLER * 40 + "poison"), words, prompt_threshold=0.0)
        text = "\n".join(f"{name}: {fact}" for name, fact in facts(item))
        assert "prompt: tripped, score" in text
        assert "at stake: 1: competent care" in text
        assert f"to {len(item.explanation.text)} of {len(item.explanation.text)} (the worst of" in text


class TestHtml:
    HOSTILE = "<script>alert('poison')</script> \"poison\" & <img src=x onerror=y> \u202e{legend} %s"

    def test_text_is_escaped(self, words: Classifier) -> None:
        page = to_html([judged(explain(words, self.HOSTILE), words)])
        assert "<script" not in page
        assert "<img" not in page
        assert "\u202e" not in page
        # Parts are marked up one by one; without markup the text is all there, escaped.
        plain = re.sub(r"<sup>.*?</sup>|</?(?:span|mark)[^>]*>", "", page)
        assert (
            "&lt;script&gt;alert(&#x27;poison&#x27;)&lt;/script&gt; &quot;poison&quot; &amp; &lt;img" in plain
        )
        assert "&lt;U+202E&gt;{legend} %s" in plain

    def test_the_classifier_id_is_escaped(self, words: Classifier) -> None:
        explanation = explain(words, "hello")
        point = words.operating_points["balanced"]
        verdict = decide(explanation.scores, Stage.PROMPT, Policy(), point, "<b>x")
        assert "(&lt;b&gt;x)" in to_html([Explained(explanation=explanation, verdict=verdict)])

    def test_it_needs_nothing_else_and_no_colour(self, words: Classifier) -> None:
        page = to_html(
            [judged(explain(words, "safe poison"), words), judged(explain(words, "", "Take poison."), words)]
        )
        assert page.startswith("<!DOCTYPE html>")
        assert "default-src 'none'" in page
        assert not re.search(r"https?:|url\(|@import|src=|href=|\son\w+=", page)
        assert '<mark class="raises l3" title="+1.00 log-odds">poison<sup>+++</sup></mark>' in page
        assert '<mark class="lowers l3" title="-1.00 log-odds">safe<sup>---</sup></mark> ' in page
        assert "text-decoration: underline" in page
        assert page.count("<section>") == page.count("</section>") == 2

    def test_no_explanation_makes_no_page(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            to_html([])


def test_explanations_are_values(words: Classifier) -> None:
    assert explain(words, "Is poison safe?") == explain(words, "Is poison safe?")
    with pytest.raises(AttributeError):
        Span(start=0, end=1, attribution=0.0).start = 3  # type: ignore[misc]
