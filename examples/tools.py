"""A model that calls a Python function."""

from mistral_client import ChatMessage, MistralClient


def add(a: int, b: int) -> int:
    """Adds two numbers.

    a, b: the numbers.
    """
    return a + b


with MistralClient(endpoint="local") as client:
    run = client.run_tools(
        messages=[ChatMessage(role="user", content="Add 2 and 3.")],
        model="mistral-small",
        tools=[add],
        tool_choice="any",  # of the first answer; the default model calls nothing of its own accord
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=40,
    )

call = run.messages[1].tool_calls[0].function
print(f"{call.name}({call.arguments}) is {run.messages[2].content}")
print("the model says:", run.response.choices[0].message.content)
