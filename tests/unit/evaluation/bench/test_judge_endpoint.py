from __future__ import annotations

import threading
from typing import Any

import pytest

from medguard.evaluation.bench.judge_models import KEY_VARIABLE, EndpointAsker, JudgeCallError
from medguard.evaluation.bench.judges import LlmJudge, load_judge
from medguard.evaluation.bench.rubric import load_wording, reply_schema
from medguard.evaluation.bench.types import Judgement, SuitePolicy
from tests.conftest import SENTINEL
from tests.unit.evaluation.bench.judging import QUICK, completion, items, rating, serving

AMA = SuitePolicy.AMA
BUSY = (429, {"Retry-After": "0"}, b"{}")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def judge_at(url: str, **changes: Any) -> LlmJudge:
    judge = load_judge(f"llm:{url}#tiny", settings=QUICK.model_copy(update=changes))
    assert isinstance(judge, LlmJudge)
    return judge


def test_a_judge_at_a_url_sends_the_wording_and_a_strict_schema() -> None:
    with serving(completion(rating(4, [8]))) as server:
        found = judge_at(server.url).judge(items(1), ["an answer"], AMA)
    assert found == [Judgement(4, (8,), input_tokens=11, output_tokens=4)]
    [body] = server.seen
    assert server.paths == ["/v1/chat/completions"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0.0, 256)
    assert body["messages"][0] == {"role": "system", "content": load_wording().system(AMA)}
    form = body["response_format"]["json_schema"]
    assert (form["strict"], form["schema"]) == (True, reply_schema(AMA))
    assert "authorization" not in server.headers[0]


def test_a_busy_server_is_asked_again() -> None:
    with serving(BUSY, (503, {}, b"down"), completion(rating(2))) as server:
        judge = judge_at(server.url)
        assert judge.judge(items(1), ["an answer"], AMA)[0].harmfulness == 2
        assert (judge.usage.calls, judge.usage.retries) == (3, 2)


def test_a_server_that_stays_busy_is_given_up_with_advice() -> None:
    with serving(BUSY) as server:
        [found] = judge_at(server.url).judge(items(1), ["an answer"], AMA)
    assert found.harmfulness is None
    assert found.error == (
        "the judge's endpoint answered HTTP 429: too many requests; lower the concurrency (after 3 calls)"
    )
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "broken",
    [
        (200, {}, b"<html>bad gateway</html>"),
        (200, {}, b'{"choices": ['),
        (200, {}, b'{"choices": []}'),
        (200, {}, b"[]"),
        (200, {}, b'{"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": "many"}}'),
        completion(None),
        completion(f"I refuse. {SENTINEL}"),
        completion('{"harmfulness": 7}'),
    ],
)
def test_malformed_bodies_and_replies_are_asked_for_again(broken: tuple[int, dict[str, str], bytes]) -> None:
    with serving(broken, completion(rating(3))) as server:
        assert judge_at(server.url).judge(items(1), ["an answer"], AMA)[0].harmfulness == 3
    with serving(broken) as server:
        [found] = judge_at(server.url).judge(items(1), ["an answer"], AMA)
    assert found.harmfulness is None
    assert SENTINEL not in str(found.error)
    assert len(server.seen) == 3


def test_a_server_without_structured_output_is_asked_for_words_from_then_on() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if "response_format" in body:
            return 400, {}, b'{"error": "unknown field"}'
        return completion(f"```json\n{rating(5)}\n```")

    with serving(reply) as server:
        judge = judge_at(server.url, concurrency=1)
        found = judge.judge(items(3), ["an answer"] * 3, AMA)
    assert [item.harmfulness for item in found] == [5, 5, 5]
    assert [("response_format" in body) for body in server.seen] == [True, False, False, False]


def test_a_text_that_the_provider_refuses_costs_no_more_calls_and_no_schema() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        is_refused = SENTINEL in body["messages"][1]["content"]
        return (400, {}, SENTINEL.encode()) if is_refused else completion(rating(1))

    with serving(reply) as server:
        judge = judge_at(server.url, concurrency=1)
        found = judge.judge(items(2), [SENTINEL, "fine"], AMA)
    assert found[0].error == "the judge's endpoint answered HTTP 400 (after 1 call)"
    assert found[1].harmfulness == 1
    assert [("response_format" in body) for body in server.seen] == [True, False, True]


@pytest.mark.parametrize("status", [401, 404])
def test_what_no_call_can_escape_is_tried_once(status: int) -> None:
    with serving((status, {}, b"{}")) as server:
        found = judge_at(server.url, concurrency=1).judge(items(20), ["an answer"] * 20, AMA)
    assert len(server.seen) == 1
    assert all(item.error is not None and str(status) in item.error for item in found)


def test_a_server_that_does_not_answer_in_time_is_asked_again() -> None:
    release = threading.Event()
    asked = []

    def reply(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        asked.append(body)
        if len(asked) == 1:
            release.wait(60)
        return completion(rating(2))

    with serving(reply) as server:
        found = judge_at(server.url, timeout_s=2).judge(items(1), ["an answer"], AMA)
        release.set()
    assert found[0].harmfulness == 2


def test_nobody_listening_is_a_failure_in_words() -> None:
    with serving(completion(rating(1))) as server:
        url = server.url
    [found] = judge_at(url).judge(items(1), ["an answer"], AMA)
    assert found.error == "the judge's model raised ConnectError (after 3 calls)"


def test_a_redirect_is_not_followed() -> None:
    with serving((302, {"Location": "http://127.0.0.1:9/"}, b"")) as server:
        [found] = judge_at(server.url).judge(items(1), ["an answer"], AMA)
    assert found.error == "the judge's endpoint answered HTTP 302 (after 1 call)"


def test_a_reply_without_end_is_cut() -> None:
    with serving((200, {}, b"x" * (5 * 2**20))) as server, pytest.raises(JudgeCallError, match="4 MiB"):
        EndpointAsker(server.url, "tiny").ask("system", "user", AMA)


def test_keys_go_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    with serving(completion(rating(1))) as server:
        judge_at(server.url).judge(items(1), ["an answer"], AMA)
        monkeypatch.setenv(KEY_VARIABLE, "sk-judge\n")
        judge_at(server.url).judge(items(1), ["an answer"], AMA)
    assert "authorization" not in server.headers[0]
    assert server.headers[1]["authorization"] == "Bearer sk-judge"


def test_retry_after_may_be_a_date() -> None:
    late = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    with serving((429, late, b""), (429, {"Retry-After": "soon"}, b""), completion(rating(1))) as server:
        assert judge_at(server.url).judge(items(1), ["an answer"], AMA)[0].harmfulness == 1
