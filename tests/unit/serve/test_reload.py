from __future__ import annotations

import os
import threading
from pathlib import Path

import httpx
import pytest

from medguard import Policy
from medguard.errors import PolicyError
from medguard.serve.reload import PolicySource
from medguard.testing import KeywordScorer, SlowScorer
from tests.unit.serve.servers import Upstream, ask, eventually, gateway, openai_client

SHADOW = "action: shadow\n"
WRONG = "no_such_field: 1\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "policy.yaml"
    made.write_text("action: block\n")
    return made


def source(policy: Policy | Path | None) -> PolicySource:
    return PolicySource(policy, classifier=KeywordScorer(["arsenic"]), observers=[])


def test_a_changed_file_is_in_force(file: Path) -> None:
    policies = source(file)
    before = policies.checker
    assert policies.poll() is False
    assert policies.checker is before
    file.write_text(SHADOW)
    assert policies.poll() is True
    assert policies.checker.policy.action.value == "shadow"
    assert before.policy.action.value == "block"


def test_a_change_shows_whatever_its_time_and_length(file: Path) -> None:
    file.write_text("action: shadow\n")
    policies = source(file)
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text("action: redact\n")
    os.utime(file, ns=times)
    assert policies.poll() is True
    assert policies.checker.policy.action.value == "redact"


@pytest.mark.parametrize(
    "content", [WRONG, "operating_point: no-such-point\n", "a: [", None, "\x00", "", "\n"]
)
def test_a_wrong_file_leaves_the_old_policy_in_force(
    file: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    policies = source(file)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    assert policies.poll() is False
    assert policies.checker.policy == Policy()
    assert policies.error
    assert "the old policy stays in force" in caplog.text
    caplog.clear()
    assert policies.poll() is False
    assert caplog.text == ""
    file.write_text(SHADOW)
    assert policies.poll() is True
    assert policies.error is None


def test_a_wrong_file_at_the_start_is_an_error(file: Path) -> None:
    file.write_text(WRONG)
    with pytest.raises(PolicyError, match="no_such_field"):
        source(file)


@pytest.mark.parametrize("policy", [None, Policy.from_mapping({"action": "shadow"})])
def test_what_is_no_file_does_not_change(policy: Policy | None) -> None:
    policies = source(policy)
    assert policies.poll() is False
    assert policies.checker.policy == (policy or Policy())


def test_the_gateway_reads_the_file_again(file: Path, behind: Upstream) -> None:
    with gateway(behind.url, policy=file, reload_s=0.05) as (address, app), openai_client(address) as client:
        assert ask(client, "arsenic").choices[0].finish_reason == "content_filter"
        file.write_text(SHADOW)
        assert eventually(lambda: app.state.gateway.policies.checker.policy.action.value == "shadow")
        assert ask(client, "arsenic").choices[0].finish_reason == "stop"
        file.write_text(WRONG)
        assert eventually(lambda: app.state.gateway.policies.error is not None)
        ready = httpx.get(f"{address}/readyz")
        assert ready.status_code == 200
        assert "no_such_field" in ready.json()["policy_error"]
        assert ask(client, "arsenic").choices[0].finish_reason == "stop"


def test_a_request_ends_under_the_policy_with_which_it_began(file: Path, behind: Upstream) -> None:
    scorer = SlowScorer(["arsenic"])
    found: list[str] = []
    with (
        gateway(behind.url, policy=file, scorer=scorer, reload_s=0.05) as (address, app),
        openai_client(address) as client,
    ):
        talk = threading.Thread(target=lambda: found.append(ask(client, "arsenic").choices[0].finish_reason))
        talk.start()
        assert scorer.entered.wait(20)
        file.write_text(SHADOW)
        assert eventually(lambda: app.state.gateway.policies.checker.policy.action.value == "shadow")
        scorer.release.set()
        talk.join(20)
    assert found == ["content_filter"]
