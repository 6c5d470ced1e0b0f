"""LangChain's standard tests of chat models, run on a guarded one.

The suite for units builds a `BaseChatModel` by its constructor (settings from the environment, serialisation,
time to initialise): a guard is no chat model but a runnable around one, so that none of it applies. The suite
for integrations calls a model that is there already, and is run here; the model needs no network.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests

from medguard import MedGuard
from medguard.testing import KeywordScorer

ONLY_CHAT_MODELS = "LangChain has this protocol on chat models and graphs alone, not on runnables"


@pytest.mark.asyncio
@pytest.mark.filterwarnings(
    "ignore:The test .* is marked with '@pytest.mark.asyncio' but:pytest.PytestWarning"
)
class TestGuardedChatModel(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return FakeListChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"responses": ["drink water"]}

    @property
    def returns_usage_metadata(self) -> bool:
        return False

    @pytest.fixture
    def model(self) -> Any:
        return MedGuard(FakeListChatModel(**self.chat_model_params), classifier=KeywordScorer(["arsenic"]))

    @pytest.mark.xfail(reason=ONLY_CHAT_MODELS, raises=NotImplementedError, strict=True)
    def test_stream_events_v3(self, model: BaseChatModel) -> None:
        super().test_stream_events_v3(model)

    @pytest.mark.xfail(reason=ONLY_CHAT_MODELS, raises=NotImplementedError, strict=True)
    async def test_astream_events_v3(self, model: BaseChatModel) -> None:
        await super().test_astream_events_v3(model)
