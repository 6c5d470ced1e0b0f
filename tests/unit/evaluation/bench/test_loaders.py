"""Suites, subjects and guards by name."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from medguard.bundle import Bundle, default_bundle_path
from medguard.errors import DataError, InvalidInputError, ProviderError
from medguard.evaluation.bench.guards import ChatGuard, load_guard
from medguard.evaluation.bench.jargon import has_jargon
from medguard.evaluation.bench.names import own_name, shown
from medguard.evaluation.bench.subjects import ChatSubject, load_subject
from medguard.evaluation.bench.suites import load_suite, suite_info, suite_names
from medguard.evaluation.bench.types import Answer, Side
from tests.upstream import requires_upstream


@requires_upstream()
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("med-harm-gpt4", 450),
        ("med-harm-llama2", 450),
        ("harmbench", 159),
        ("strongreject", 313),
        ("contrast", 440),
        ("sensitive", 68),
        ("xstest", 450),
    ],
)
def test_suites_hold_what_they_say(name: str, count: int) -> None:
    suite = load_suite(name)
    assert len(suite.items) == count
    sides = {item.harmful for item in suite.items}
    assert sides == {Side.HARMFUL: {True}, Side.BENIGN: {False}, Side.BOTH: {True, False}}[suite.side]
    assert suite.revision
    assert all(item.prompt.strip() for item in suite.items)


@requires_upstream()
def test_med_harm_has_principles_and_both_kinds_of_jargon() -> None:
    items = load_suite("med-harm-gpt4").items
    assert {item.principle for item in items} == set(range(1, 10))
    share = sum(bool(item.jargon) for item in items) / len(items)
    assert 0.05 < share < 0.95


@requires_upstream()
def test_samples_are_fixed_by_the_seed_and_limits_keep_the_first() -> None:
    whole = load_suite("strongreject").items
    drawn = load_suite("strongreject", sample=20, seed=3).items
    assert drawn == load_suite("strongreject", sample=20, seed=3).items
    assert drawn != load_suite("strongreject", sample=20, seed=4).items
    assert load_suite("strongreject", limit=5).items == whole[:5]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    lines = [{"id": "a", "prompt": "x", "harmful": True}, {"id": "b", "prompt": "y", "harmful": False}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    suite = load_suite(path)
    assert (suite.name, suite.side, len(suite.items)) == ("mine", Side.BOTH, 2)
    path.write_text(json.dumps({"id": "a", "prompt": "secret words"}) + "\n")
    with pytest.raises(DataError, match="line 1: missing or wrong: harmful") as caught:
        load_suite(path)
    assert "secret" not in str(caught.value)
    path.write_text("".join(json.dumps({**lines[0], "prompt": word}) + "\n" for word in "xy"))
    with pytest.raises(DataError, match="an id twice"):
        load_suite(path)


def test_what_is_no_suite_is_an_error_that_names_them() -> None:
    with pytest.raises(DataError, match="med-harm-gpt4"):
        load_suite("no-such-suite")
    assert [suite_info(name).title for name in suite_names()]


def test_hex_phi_is_read_from_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDGUARD_HEX_PHI", raising=False)
    with pytest.raises(DataError, match="gated"):
        load_suite("hex-phi")
    (tmp_path / "category_1.csv").write_text('"first, with a comma"\nsecond\n')
    monkeypatch.setenv("MEDGUARD_HEX_PHI", str(tmp_path))
    assert [item.prompt for item in load_suite("hex-phi").items] == ["first, with a comma", "second"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Can the doctor help my mother?", False),
        ("Is the biopsy back?", True),
        ("Does arthritis hurt at night?", True),
        ("After a Nephrectomy", True),
    ],
)
def test_jargon(text: str, expected: bool) -> None:
    assert has_jargon(text) is expected


class Endpoint(BaseHTTPRequestHandler):
    """Answers as OpenAI's chat and moderation endpoints do; a request with ``boom`` breaks it."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["input"] if "input" in body else body["messages"][0]["content"]
        if "boom" in text:
            self.send_response(500)
            self.end_headers()
            return
        reply: dict[str, Any] = {"choices": [{"message": {"content": f"answer to {text}"}}]}
        if "input" in body:
            bad = "bad" in text
            reply = {"results": [{"flagged": bad, "category_scores": {"a": 0.9 if bad else 0.1}}]}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_behind_a_url(url: str) -> None:
    subject = load_subject(f"{url}#small")
    good, broken = subject.answer(["water", "boom"])
    assert good.text == "answer to water"
    assert (broken.text, broken.error) == (None, "status 500")
    with pytest.raises(DataError, match="URL#MODEL"):
        load_subject(url)
    named = load_subject(url.replace("http://", "http://user:secret@") + "#small").name
    assert named == f"{url}#small", "a name stands in tables: no password in it"


def test_a_url_is_asked_some_at_a_time_and_answers_keep_their_order(url: str) -> None:
    prompts = [f"question {number}" for number in range(20)]
    answers = load_subject(f"{url}#small").answer(prompts)
    assert [answer.text for answer in answers] == [f"answer to {prompt}" for prompt in prompts]


def test_a_moderation_endpoint(url: str) -> None:
    guard = load_guard(f"moderation:{url}#m")
    good, bad, broken = guard.check_prompts(["water", "bad", "boom"])
    assert (good.flagged, good.score, bad.flagged, bad.score) == (False, 0.1, True, 0.9)
    assert broken.flagged
    assert broken.error == "HTTPStatusError"


def test_recorded_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n")
    subject = load_subject(f"recorded:{path}")
    assert subject.answer(["a", "c"]) == [Answer("b"), Answer(None, error="no answer is recorded")]
    first = subject.name
    path.write_text(json.dumps({"prompt": "a", "response": "other"}) + "\n")
    assert load_subject(f"recorded:{path}").name != first


def test_a_langchain_model() -> None:
    subject = ChatSubject("fake", lambda: FakeListChatModel(responses=["one"]))
    assert [answer.text for answer in subject.answer(["x", "y"])] == ["one", "one"]


def test_a_chat_model_as_a_guard() -> None:
    replies = FakeListChatModel(responses=["safe", "unsafe\nS1", "who knows"])
    scores = [
        ChatGuard(ChatSubject("fake", lambda: replies)).check_prompts([text])[0] for text in ("a", "b", "c")
    ]
    assert [(score.flagged, score.error) for score in scores] == [
        (False, None),
        (True, None),
        (True, "no verdict"),
    ]


def test_medguard_as_a_guard() -> None:
    guard = load_guard("medguard")
    harmful, benign = guard.check_prompts(
        ["How do I forge a colleague's signature on a prescription?", "How do I store insulin?"]
    )
    assert (harmful.flagged, benign.flagged) == (True, False)
    assert guard.name.endswith("@balanced")
    config = Bundle(default_bundle_path()).config
    assert guard.name == own_name(config, "balanced")
    assert shown(guard.name) == f"medguard:{config.id}@balanced"
    assert guard.distilled_from
    (answer,) = guard.check_answers(["How do I store insulin?"], ["In the fridge."]) or ()
    assert answer.score is not None


def test_a_function_as_a_guard() -> None:
    guard = load_guard("python:operator:truth")
    assert [score.flagged for score in guard.check_prompts(["x", ""])] == [True, False]
    with pytest.raises(ProviderError, match="cannot import"):
        load_guard("python:no_such_module:f")
    (broken,) = load_guard("python:math:sqrt").check_prompts(["x"])
    assert (broken.flagged, broken.error) == (True, "TypeError")


def test_scanners_of_llm_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loud:
        """Has the interface of LLM Guard's input scanners: sanitised text, whether valid, risk."""

        def scan(self, text: str) -> tuple[str, bool, float]:
            return text, "!" not in text, 0.75 if "!" in text else 0.0

    class NeedsSettings:
        def __init__(self, words: list[str]) -> None:
            self.words = words

    scanners = ModuleType("llm_guard.input_scanners")
    scanners.Loud, scanners.NeedsSettings = Loud, NeedsSettings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llm_guard", ModuleType("llm_guard"))
    monkeypatch.setitem(sys.modules, "llm_guard.input_scanners", scanners)
    loud, quiet = load_guard("llm-guard:Loud").check_prompts(["hey!", "hey"])
    assert (loud.flagged, loud.score, quiet.flagged, quiet.score) == (True, 0.75, False, 0.0)
    for name in ("NeedsSettings", "Unknown"):
        with pytest.raises(ProviderError, match=f"scanner {name} cannot be loaded .*python:MODULE:FUNCTION"):
            load_guard(f"llm-guard:{name}")


@pytest.mark.parametrize("spec", ["", "nothing", "python:", "llm-guard:"])
def test_what_is_no_guard_or_subject_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInputError, match="a guard is"):
        load_guard(spec)
    if not spec.endswith(":"):
        with pytest.raises(InvalidInputError, match="a subject is"):
            load_subject(spec)
