"""An upstream that answers as told, the gateway in front of it, and the official client."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.unit.serve.servers import Upstream, gateway, openai_client, upstream


@pytest.fixture
def behind() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


@pytest.fixture
def address(behind: Upstream) -> Iterator[str]:
    with gateway(behind.url, read_timeout_s=2.0, max_response_bytes=100_000) as (made, _):
        yield made


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai_client(address) as made:
        yield made
