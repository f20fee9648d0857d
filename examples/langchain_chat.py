"""LangChain on the local server, which has to run: mistral-client serve"""

import os

from langchain_core.prompts import ChatPromptTemplate
from langchain_mistralai import ChatMistralAI

server = os.environ.get("MISTRAL_ENDPOINT", "http://127.0.0.1:8000")
model = ChatMistralAI(
    model_name="mistral-small",
    base_url=f"{server}/v1",
    api_key=os.environ.get("MISTRAL_API_KEY", "none"),  # any, where the server asks for none
    temperature=0,
    max_tokens=40,
)
prompt = ChatPromptTemplate([("user", "What is the capital of {country}?")])
chain = prompt | model

print(chain.invoke({"country": "France"}).content)
for chunk in chain.stream({"country": "Italy"}):
    print(chunk.content, end="", flush=True)
print()
