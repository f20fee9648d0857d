"""langchain-tests' standard suites for chat models and for embeddings, of langchain-mistralai: pytest runs this file."""

import contract as c
import pytest
from langchain_mistralai import ChatMistralAI, MistralAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests


class TestChat(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatMistralAI

    @property
    def chat_model_params(self):
        return {
            "model_name": c.MODEL,
            "base_url": f"{c.URL}/v1",
            "api_key": c.KEY,
            "temperature": 0,
            # The default model is small: it repeats itself, and calls a tool again and again where it may.
            "model_kwargs": {"frequency_penalty": 0.2, "parallel_tool_calls": False},
        }

    @property
    def model_override_value(self):
        return "mistral-medium"

    @property
    def supports_json_mode(self):
        return True

    @pytest.mark.xfail(reason="langchain-mistralai gives the name of its own settings, whatever model was asked")
    def test_invoke_with_model_override(self, model):
        super().test_invoke_with_model_override(model)

    @pytest.mark.xfail(reason="langchain-mistralai gives the name of its own settings, whatever model was asked")
    async def test_ainvoke_with_model_override(self, model):
        await super().test_ainvoke_with_model_override(model)

    @pytest.mark.xfail(reason="the model must choose by itself to call a tool; the default one is too small for that")
    def test_agent_loop(self, model):
        super().test_agent_loop(model)

    @pytest.mark.xfail(reason="no schema goes along; the default model is too small to find the keys in the prompt")
    def test_json_mode(self, model):
        super().test_json_mode(model)


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return MistralAIEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": c.EMBEDDER, "endpoint": f"{c.URL}/v1/", "api_key": c.KEY}
