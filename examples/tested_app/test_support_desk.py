"""How the support desk behaves on bad days, offline. Run it with `pytest`."""

import pytest
from support_desk import BROKE_OFF, HANDED_OVER, INSTRUCTIONS, answer, main

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def ask(mistral_server):
    """Ask the desk; what the customer gets to read, piece by piece."""
    async with mistral_server.async_client(max_retries=1) as client:

        async def ask(question, **options):
            return [text async for text in answer(client, question, **options)]

        yield ask


async def test_the_answer_comes_piece_by_piece(ask, mistral_server):
    mistral_server.reply(["We open", " at nine."])
    assert await ask("When do you open?") == ["We open", " at nine."]

    system, customer = mistral_server.last.messages
    assert system == {"role": "system", "content": INSTRUCTIONS}
    assert customer["content"] == "When do you open?"


async def test_a_busy_server_is_asked_again(ask, mistral_server):
    mistral_server.fail(429, retry_after=0.1)
    mistral_server.reply("At nine.")
    assert "".join(await ask("When do you open?")) == "At nine."

    first, second = mistral_server.assert_called(2)
    assert second.time - first.time >= 0.1


@pytest.mark.parametrize("how", [503, "reset"])
async def test_a_colleague_takes_over_when_the_server_is_down(ask, mistral_server, how):
    mistral_server.fail(how)
    assert await ask("When do you open?") == [HANDED_OVER]
    mistral_server.assert_called(2)


async def test_a_login_page_is_no_answer(ask, mistral_server):
    mistral_server.fail(200, html="<h1>Log in to the Wi-Fi</h1>")
    assert await ask("When do you open?") == [HANDED_OVER]


async def test_what_was_said_stays_when_the_line_breaks(ask, mistral_server):
    mistral_server.reply("We open at nine.", cut_after=2)
    assert await ask("When do you open?") == ["We", " open", BROKE_OFF]


async def test_a_line_that_breaks_before_the_first_word_goes_unnoticed(ask, mistral_server):
    mistral_server.reply("Never heard.", reset_after=0)
    mistral_server.reply("At nine.")
    assert "".join(await ask("When do you open?")) == "At nine."


async def test_nobody_waits_for_ever(ask, mistral_server):
    mistral_server.reply("At nine.", delay=60)
    assert await ask("When do you open?", patience=0.1) == [HANDED_OVER]

    mistral_server.reply("We open at nine.", pace=60, when="slowly")
    assert await ask("Tell me slowly.", patience=0.5) == ["We", BROKE_OFF]


async def test_a_real_conversation(ask, mistral_server):
    """Recorded from the local Mixtral; `pytest --mistral-record` records it anew."""
    mistral_server.replay(endpoint="local")
    assert "".join(await ask("Which tyres do I need for gravel?")).endswith(".")


async def test_the_program_needs_no_arguments_for_its_tests(mistral_server, capsys):
    mistral_server.reply("At nine.")
    await main("When do you open?")
    assert capsys.readouterr().out == "At nine.\n"
