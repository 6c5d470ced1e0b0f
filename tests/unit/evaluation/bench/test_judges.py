from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from medguard import Classifier
from medguard.errors import DataError, ProviderError
from medguard.evaluation.bench.classifier_judge import TEACHER, ClassifierJudge
from medguard.evaluation.bench.judge_models import JudgeCallError, LangChainAsker, RawReply
from medguard.evaluation.bench.judges import (
    LlmJudge,
    LlmSettings,
    NoJudge,
    Usage,
    cost_of,
    load_judge,
    refuse_own_pupil,
)
from medguard.evaluation.bench.rubric import REMINDER, load_wording
from medguard.evaluation.bench.types import GuardScore, Judgement, SuiteItem, SuitePolicy
from medguard.testing import FailingScorer, KeywordScorer
from tests.conftest import SENTINEL
from tests.unit.evaluation.bench.judging import QUICK, Talker, ToolCaller, items, rating, talker, tool_call

AMA, GENERAL = SuitePolicy.AMA, SuitePolicy.GENERAL


def test_a_chat_model_in_words_judges_with_tokens_and_cost() -> None:
    model = talker(rating(4, [8, 1]))
    prices = LlmSettings(input_price=2.0, output_price=10.0)
    judge = LlmJudge(model, name="fake", settings=prices)
    assert judge.judge(items(1), ["an answer"], AMA) == [
        Judgement(4, (8, 1), input_tokens=10, output_tokens=2)
    ]
    assert judge.usage == Usage(calls=1, input_tokens=10, output_tokens=2)
    assert judge.cost == pytest.approx(40e-6)
    [[system, user]] = model.told
    assert system.content == load_wording().system(AMA)
    assert "request 0" in user.content
    assert "an answer" in user.content


def test_a_chat_model_with_tools_gives_structured_output() -> None:
    model = ToolCaller(responses=[tool_call(harmfulness=5, violates=[3])])
    judge = LlmJudge(model, name="fake")
    assert judge.judge(items(1), ["an answer"], AMA) == [Judgement(5, (3,), input_tokens=7, output_tokens=3)]
    [[ama], [general]] = model.bound
    assert "violates" in ama["properties"]
    assert "violates" not in general["properties"]


def test_a_model_with_tools_that_answers_in_words_is_read_too() -> None:
    judge = LlmJudge(ToolCaller(responses=[AIMessage(rating(2))]), name="fake")
    assert judge.judge(items(1), ["an answer"], AMA)[0].harmfulness == 2


def test_a_model_that_refuses_tools_is_asked_for_words_from_then_on() -> None:
    class RefusesTools(ToolCaller):
        def bind_tools(self, tools: Any, **options: Any) -> Any:
            class HTTP400(Exception):  # noqa: N818 - any provider's
                status_code = 400

            def refuse(_: Any) -> Any:
                raise HTTP400("tools are not supported")

            from langchain_core.runnables import RunnableLambda

            self.bound.append(tools)
            return RunnableLambda(refuse)

    asker = LangChainAsker(RefusesTools(responses=[AIMessage(rating(3))]))
    for _ in range(2):
        assert asker.ask("system", "user", AMA) == RawReply(rating(3))
    assert not asker._structured


def test_a_malformed_reply_is_asked_for_again_and_paid_for() -> None:
    model = talker("I would rather not say.", '{"harmfulness": 9}', rating(1))
    judge = LlmJudge(model, name="fake", settings=QUICK)
    assert judge.judge(items(1), ["an answer"], AMA) == [
        Judgement(harmfulness=1, input_tokens=30, output_tokens=6)
    ]
    assert judge.usage == Usage(calls=3, retries=2, input_tokens=30, output_tokens=6)
    assert [str(told[1].content).endswith(REMINDER) for told in model.told] == [False, True, True]


def test_a_failure_takes_the_judgements_place_and_quotes_nothing() -> None:
    judge = LlmJudge(talker(f"No: {SENTINEL}"), name="fake", settings=QUICK)
    [found] = judge.judge(items(1), [SENTINEL], AMA)
    assert found == Judgement(
        harmfulness=None,
        error="the judge's reply holds no JSON object with a harmfulness (after 3 calls)",
        input_tokens=30,
        output_tokens=6,
    )
    assert judge.usage.failures == 1


def test_judgements_stand_in_the_order_of_the_answers() -> None:
    class Echo:
        def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
            level = re.search(r"level (\d)", user)
            assert level is not None
            return RawReply(rating(int(level[1])))

    levels = [number % 5 + 1 for number in range(40)]
    judge = LlmJudge(Echo(), name="echo", settings=LlmSettings(concurrency=8))
    found = judge.judge(items(40), [f"level {level}" for level in levels], GENERAL)
    assert [item.harmfulness for item in found] == levels
    each = dict(judge.judge_each(items(40), [f"level {level}" for level in levels], GENERAL))
    assert each == dict(enumerate(found))


def test_blank_answers_cost_no_call() -> None:
    model = talker(rating(5))
    found = LlmJudge(model, name="fake").judge(items(2), ["", " \n"], AMA)
    assert [item.harmfulness for item in found] == [1, 1]
    assert model.told == []


def test_as_many_calls_run_at_once_as_allowed() -> None:
    class Meeting:
        """Lets nobody go on until three are there."""

        def __init__(self) -> None:
            self.barrier = threading.Barrier(3)
            self.lock = threading.Lock()
            self.inside = self.most = 0

        def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            self.barrier.wait(30)
            with self.lock:
                self.inside -= 1
            return RawReply(rating(1))

    model = Meeting()
    judge = LlmJudge(model, name="meeting", settings=LlmSettings(concurrency=3))
    assert all(item.harmfulness == 1 for item in judge.judge(items(12), ["text"] * 12, AMA))
    assert model.most == 3


def test_a_call_that_hangs_is_given_up() -> None:
    class Hangs:
        def __init__(self) -> None:
            self.release = threading.Event()
            self.calls = 0

        def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
            self.calls += 1
            if self.calls == 1:
                self.release.wait(60)
            return RawReply(rating(2))

    model = Hangs()
    settings = QUICK.model_copy(update={"timeout_s": 1.0, "concurrency": 1})
    judge = LlmJudge(model, name="hangs", settings=settings)
    assert judge.judge(items(1), ["text"], AMA)[0].harmfulness == 2
    assert model.calls == 2
    model.release.set()


def test_passing_failures_are_tried_again_and_others_are_not() -> None:
    class Fails:
        def __init__(self, *errors: Exception) -> None:
            self.errors = list(errors)

        def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
            if self.errors:
                raise self.errors.pop(0)
            return RawReply(rating(4))

    busy = [JudgeCallError("busy", status=429, retry_after_s=0.0), JudgeCallError("down", status=503)]
    judge = LlmJudge(Fails(*busy), name="busy", settings=QUICK)
    assert judge.judge(items(1), ["text"], AMA)[0].harmfulness == 4
    assert judge.usage.retries == 2
    filtered = LlmJudge(Fails(JudgeCallError("HTTP 400", status=400)), name="filters", settings=QUICK)
    assert filtered.judge(items(1), ["text"], AMA)[0].error == "HTTP 400 (after 1 call)"
    down = LlmJudge(Fails(*[JudgeCallError("down", status=500)] * 9), name="down", settings=QUICK)
    assert down.judge(items(1), ["text"], AMA)[0].error == "down (after 3 calls)"


def test_after_a_refused_key_nothing_more_is_called() -> None:
    class Refused:
        calls = 0

        def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
            self.calls += 1
            raise JudgeCallError("the key was refused", status=401)

    model = Refused()
    settings = QUICK.model_copy(update={"concurrency": 1})
    found = LlmJudge(model, name="refused", settings=settings).judge(items(50), ["text"] * 50, AMA)
    assert model.calls == 1
    assert all("the key was refused" in str(item.error) for item in found)


def test_closing_the_iterator_ends_the_work() -> None:
    class Counts:
        calls = 0

        def ask(self, system: str, user: str, policy: SuitePolicy) -> RawReply:
            self.calls += 1
            return RawReply(rating(1))

    model = Counts()
    judge = LlmJudge(model, name="counts", settings=LlmSettings(concurrency=1))
    stream = judge.judge_each(items(5000), ["text"] * 5000, AMA)
    next(stream)
    stream.close()
    assert model.calls < 5000


def test_exceptions_of_providers_are_told_by_type_alone() -> None:
    class RateLimitError(Exception):
        pass

    class Broken(Talker):
        def _generate(self, *args: Any, **options: Any) -> Any:
            raise RateLimitError(SENTINEL)

    with pytest.raises(JudgeCallError, match="RateLimitError") as caught:
        LangChainAsker(Broken(responses=[])).ask("system", "user", AMA)
    assert caught.value.is_passing
    assert SENTINEL not in str(caught.value)


def test_the_name_tells_wording_model_and_temperature_apart(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text("Rate.", encoding="utf-8")
    made = [
        LlmJudge(talker("x"), name="a"),
        LlmJudge(talker("x"), name="b"),
        LlmJudge(talker("x"), name="a", settings=LlmSettings(wording=tmp_path)),
        LlmJudge(talker("x"), name="a", settings=LlmSettings(temperature=0.7)),
    ]
    assert len({judge.name for judge in made}) == 4
    assert LlmJudge(talker("x"), name="a", settings=LlmSettings(concurrency=9)).name == made[0].name


def test_cost_needs_both_prices() -> None:
    assert cost_of(1_000_000, 500_000, LlmSettings(input_price=1.5, output_price=4.0)) == 3.5
    assert cost_of(1, 1, LlmSettings(input_price=1.5)) is None


def test_numbers_of_items_and_answers_must_agree() -> None:
    with pytest.raises(DataError, match="one answer per item"):
        LlmJudge(talker("x"), name="a").judge(items(2), ["one"], AMA)


def test_the_classifier_judges_by_the_median_of_its_levels() -> None:
    judge = ClassifierJudge(KeywordScorer({"poison": 0.9, "mild": 0.4}, principle=7))
    found = judge.judge(items(4), ["poison", "mild", "fine", " "], AMA)
    assert found == [Judgement(5, (7,)), Judgement(1), Judgement(1), Judgement(1)]
    assert judge.judge(items(1), ["poison"], GENERAL) == [Judgement(5)]


def test_one_unreadable_answer_costs_its_neighbours_nothing(classifier: Classifier) -> None:
    judge = ClassifierJudge(classifier)
    answers = ["I cannot help with that.", "\ud800 broken", "Please see a doctor about this."]
    found = judge.judge(items(3), answers, AMA)
    assert [item.error for item in found] == [None, "the classifier raised InvalidInputError", None]
    assert found[0].harmfulness == found[2].harmfulness == 1


def test_a_broken_classifier_raises_what_is_not_about_the_text() -> None:
    with pytest.raises(RuntimeError):
        ClassifierJudge(FailingScorer()).judge(items(1), ["text"], AMA)


class MadeGuard:
    """A guard of which only the names matter."""

    def __init__(self, name: str, distilled_from: str | None) -> None:
        self.name = name
        self.distilled_from = distilled_from

    def check_prompts(self, prompts: Any) -> list[GuardScore]:
        return []

    def check_answers(self, prompts: Any, answers: Any) -> list[GuardScore] | None:
        return None


def test_no_judge_scores_its_own_pupil() -> None:
    bundled = ClassifierJudge(KeywordScorer([]), digest="0123456789abcdef")
    for guard in (
        MadeGuard("medguard[keywords@balanced]", None),
        MadeGuard("medguard:keywords#0a1b2c3d@balanced", None),
        MadeGuard("other", bundled.name),
        MadeGuard("other", "keywords"),
        MadeGuard("another bundle", TEACHER),
    ):
        with pytest.raises(DataError, match="distilled"):
            refuse_own_pupil(bundled, guard)
    refuse_own_pupil(bundled, MadeGuard("llama-guard", None))
    refuse_own_pupil(bundled, MadeGuard("python:guards:keywords-v2", None))
    judge = LlmJudge(talker("x"), name="a")
    refuse_own_pupil(judge, MadeGuard("medguard[keywords@balanced]", None))
    with pytest.raises(DataError, match="distilled"):
        refuse_own_pupil(judge, MadeGuard("pupil", judge.name))


def test_specs_make_judges(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"id": "a", "response": "x", "harmfulness": 4}\n', encoding="utf-8")
    assert isinstance(load_judge("none"), NoJudge)
    assert load_judge("none").judge(items(1), ["x"], AMA) == [Judgement(None)]
    recorded = load_judge(f"recorded:{file}")
    assert recorded.name.startswith("recorded:labels.jsonl@")
    assert recorded.judge([SuiteItem("a", "p", True)], ["x"], AMA) == [Judgement(4)]
    assert load_judge("classifier").name.startswith("classifier:mpnet9-v6@")
    at_url = load_judge("llm:http://user:secret@127.0.0.1:9/v1?key=secret#tiny")
    assert at_url.name.startswith("llm:http://127.0.0.1:9/v1#tiny@")


@pytest.mark.parametrize(
    "spec", ["", "gpt-4", "recorded:", "llm:", "none:x", "llm:http://127.0.0.1:9/v1", "llm:http://#m"]
)
def test_other_specs_are_refused(spec: str) -> None:
    with pytest.raises(DataError, match="expected"):
        load_judge(spec)


def test_an_unknown_provider_is_named() -> None:
    pytest.importorskip("langchain")
    with pytest.raises(ProviderError, match="nobody:model"):
        load_judge("llm:nobody:model")


@pytest.mark.parametrize("field", [{"concurrency": 0}, {"attempts": 0}, {"timeout_s": 0}, {"colour": "red"}])
def test_settings_out_of_range_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        LlmSettings(**field)
