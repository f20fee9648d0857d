"""The inspector's page in a real browser, over `mistral-client serve` with a small Mixtral."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from mistral_client import InvalidRequestError
from tests.conftest import HELLO
from tests.server.process import Process

from .chromium import dark
from .page import Page

LIST = ".calls li"


@pytest.fixture
def page(open_page):
    page = open_page()
    page.clear()
    return page


def test_the_list_fills_newest_first(page):
    with page.client() as client:
        client.chat("mistral-tiny", [{"role": "user", "content": "the first one"}], max_tokens=6)
        client.embeddings("mistral-embed", ["the second one"])
        with pytest.raises(InvalidRequestError):
            client.chat("no-such-model", [{"role": "user", "content": "the third one"}])
    page.wait_for(LIST, "no-such-model")
    third, second, first = page.texts(LIST)
    assert re.search(r"200\s+chat\s+mistral-tiny\s+\d\d:\d\d:\d\d\s+the first one", first)
    assert re.search(r"\d+ → 6 tokens · [\d.,]+/s · ", first)
    assert "embeddings" in second
    assert "tokens · " in second
    assert re.search(r"400\s+chat\s+no-such-model", third)
    assert "Invalid model: no-such-model" in third


def test_a_stream_grows_and_its_tokens_are_shaded(page):
    with page.client() as client, client.chat_stream("mistral-tiny", HELLO) as stream:
        chunks = iter(stream)
        for _ in range(3):
            next(chunks)
        page.click(LIST + " a", "writing")
        page.wait_for(".tokens.growing")
        counts = []
        while len(counts) < 3:
            for _ in range(5):
                next(chunks)
            count = page.run("return document.querySelectorAll('.answer .token').length")
            counts += [count] if count and count not in counts else []
        assert counts == sorted(counts)
    page.wait_for(".status", "client left")
    page.wait_for(".fault", "so the model stopped")
    page.driver.refresh()  # the address leads to the call
    page.wait_for(".fault", "so the model stopped")
    assert page.texts(".tokens.growing") == []
    doubts = page.run(
        "return [...document.querySelectorAll('.answer .token')].map((e) => Number(e.style.getPropertyValue('--doubt')))"
    )
    assert all(0 <= doubt <= 1 for doubt in doubts)
    assert len(set(doubts)) > 3


def test_each_token_tells_its_probability_by_keyboard(page):
    with page.client() as client:
        client.chat("mistral-tiny", HELLO, max_tokens=8)
    page.click(LIST + " a")
    page.wait_for(".answer .token")
    page.run("document.querySelector('.answer .tokens').focus()")
    page.press("ArrowRight")
    page.wait_for(".told", "%")
    first = page.text(".told")
    assert re.search(r"^\".*\" [\d.<]+ ?[\d.]* %.*or \".*after \d", first, re.DOTALL)
    page.press("ArrowRight")
    assert page.text(".told") != first
    page.press("ArrowLeft")
    assert page.text(".told") == first


def test_the_prompt_is_shown_token_by_token(page):
    text = "naïve 日本 🙂 <s> </s> [INST] <script>alert(1)</script>"
    with page.client() as client:
        usage = client.chat("mistral-tiny", [{"role": "user", "content": text}], max_tokens=2).usage
    page.click(LIST + " a")
    page.click("[role=tab]", "Prompt")
    page.wait_for(".borders .token")
    tokens = page.run("return [...document.querySelectorAll('.borders .token')].map((e) => [...e.told, e.className])")
    assert text in "".join(json.loads(quoted) for quoted, _, look in tokens if "control" not in look)
    assert [(quoted, told) for quoted, told, look in tokens if "control" in look] == [('"<s>"', "control token 1")]
    ids = [number for _, told, _ in tokens for number in told.rpartition("token")[2].strip("s ").split()]
    assert len(ids) == usage.prompt_tokens
    assert f"{usage.prompt_tokens} tokens, exactly as the model saw them." in page.text(".note")


def test_what_is_written_is_never_html(page):
    evil = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    with page.client() as client:
        client.chat("mistral-tiny", [{"role": "user", "content": evil}], max_tokens=2, stop=[evil])
        with pytest.raises(InvalidRequestError):
            client.chat(evil, [{"role": "system", "content": evil}, {"role": "user", "content": evil}])
    for words in ("200", "400"):
        page.click(LIST + " a", words)
        for tab in ("Conversation", "Prompt", "Request", "Ask again"):
            page.click("[role=tab]", tab)
            page.wait_for("[role=tabpanel]")
            assert page.run("return document.querySelectorAll('main img, .panel b:not(.fault b)').length") == 0
    page.click("[role=tab]", "Conversation")
    assert evil in page.text(".message.user")
    assert page.driver.title == "Inspector"


def test_asking_again_with_other_settings(page):
    with page.client() as client:
        client.chat("mistral-tiny", [{"role": "user", "content": "say it again"}], max_tokens=4, random_seed=2**60 + 7)
    page.click(LIST + " a")
    page.click("[role=tab]", "Ask again")
    page.wait_for("textarea")
    page.write(".settings input[type=number]:nth-of-type(1)", "0.5")
    asked = json.loads(page.run("return document.querySelector('textarea').value"))
    assert (asked["temperature"], asked["random_seed"]) == (0.5, 2**60 + 7)
    page.write("textarea", "{")
    page.wait_for(".wrong", "This is not JSON")
    assert page.run("return document.querySelector('.ask [type=submit]').disabled")
    page.write("textarea", json.dumps({**asked, "max_tokens": 7, "stream": True}))
    page.click(".ask [type=submit]")
    page.wait_for(LIST, "asked here")
    page.wait_for(".badge", "length")
    assert re.search(r"chat stream .*asked here.*→ 7 tokens", page.texts(LIST)[0].replace("\n", " "))
    assert page.run("return document.querySelector('.calls a').getAttribute('aria-current')") == "true"


def test_what_is_asked_here_can_be_stopped(page):
    with page.client() as client:
        client.chat("mistral-tiny", [{"role": "user", "content": "without end"}], max_tokens=4)
    page.click(LIST + " a")
    page.click("[role=tab]", "Ask again")
    page.wait_for("textarea")
    page.write(".settings label:nth-child(2) input", "")
    page.click(".ask [type=submit]")
    page.wait_for(LIST, "writing")
    page.click(".copies button", "Stop")
    page.wait_for(LIST, "client left")


def test_attempts_share_a_line(page):
    headers = {"Idempotency-Key": "one and the same"}
    with page.client() as client:
        for _ in range(3):
            client.chat("mistral-tiny", HELLO, max_tokens=3, extra_headers=headers)
        client.chat("mistral-tiny", HELLO, max_tokens=3)
    page.wait_for(LIST, "3 attempts")
    assert len(page.texts(LIST)) == 2
    page.click(LIST + " a", "3 attempts")
    page.wait_for(".attempts a", "Attempt 3")
    assert page.texts(".attempts .status") == ["200", "200 again", "200 again"]
    page.wait_for(".note", "given again")
    page.click(".attempts a", "Attempt 1")
    page.wait_for(".answer .tokens")


def test_calls_as_programs(page, tmp_path):
    with page.client() as client:
        given = {"max_tokens": 5, "random_seed": 2**60 + 7, "temperature": 0.0, "stop": ['it\'s \\ "over"']}
        messages = [{"role": "user", "content": 'it\'s "quoted" $HOME \\ and\nso on ✂'}]
        answer = client.chat("mistral-tiny", messages, **given).choices[0].message.content
        with client.chat_stream("mistral-tiny", messages, **given) as stream:
            list(stream)
    page.wait_for(LIST, "chat stream")
    for kind in ("chat stream", "chat"):
        script = "[...document.querySelectorAll('.calls a')].find((a) => a.querySelector('.kind').textContent === arguments[0]).click()"
        page.run(script, kind)
        page.wait_for(".title .kind", kind)
        page.wait_for(".copies button", "Copy Python")
        program = tmp_path / "program.py"
        program.write_text(page.copied("Copy Python"), encoding="utf-8")
        assert f"random_seed={2**60 + 7}," in program.read_text(encoding="utf-8")
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
        assert (done.stderr, done.stdout.rstrip("\n")) == ("", answer)
        command = page.copied("Copy curl")
        shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60).stdout
        assert ("[DONE]" in shown) == (kind == "chat stream")
        assert kind == "chat stream" or json.loads(shown)["choices"][0]["message"]["content"] == answer


def test_search_and_faults(page):
    with page.client() as client:
        client.chat("mistral-tiny", [{"role": "user", "content": "apples"}], max_tokens=2)
        client.chat("mistral-tiny", [{"role": "user", "content": "pears"}], max_tokens=2)
        with pytest.raises(InvalidRequestError):
            client.chat("nope", [{"role": "user", "content": "pears"}])
    page.wait_for(LIST, "nope")
    page.press("/")
    page.write("#search", "pears")
    assert len(page.texts(LIST)) == 2
    page.run("const e = document.querySelector('#kinds'); e.value = 'faults'; e.dispatchEvent(new Event('input'))")
    assert len(page.texts(LIST)) == 1
    page.write("#search", "apples")
    assert page.texts(LIST) == []


def test_a_key_opens_the_page(open_page):
    page = open_page("--api-key", "secret-1", expect="#key")
    assert page.texts(LIST) == []
    page.write("#key", "secret-0")
    page.press("Enter")
    page.wait_for("#wrong", "This key is not right.")
    page.write("#key", "secret-1")
    page.press("Enter")
    page.wait_for(".state.live")
    with page.client(api_key="secret-1") as client:
        client.chat("mistral-tiny", HELLO, max_tokens=3)
    page.click(LIST + " a", "mistral-tiny")
    page.wait_for(".answer .tokens")
    assert "secret" not in page.run("return document.documentElement.outerHTML + location.href + document.cookie")
    assert page.run("return Object.values(localStorage)") == []
    assert "$MISTRAL_API_KEY" in page.copied("Copy curl")
    page.click("[role=tab]", "Ask again")
    page.click(".ask [type=submit]")
    page.wait_for(LIST, "asked here")
    page.wait_for(".status", "200")
    page.driver.get(page.url)
    page.wait_for(".state.live")  # the tab still has it


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_screen_is_too_narrow(open_page, width):
    page = open_page(width=width, height=740)
    page.clear()
    with page.client() as client:
        client.chat("mistral-tiny", [{"role": "user", "content": "long" * 300 + " words"}], max_tokens=20)
        with pytest.raises(InvalidRequestError):
            client.chat("x" * 200, HELLO)
    page.wait_for(LIST, "400")
    wide = "return document.documentElement.scrollWidth > innerWidth"
    assert not page.run(wide)
    for words in ("200", "400"):
        page.click(LIST + " a", words)
        for tab in ("Conversation", "Prompt", "Request", "Ask again"):
            page.click("[role=tab]", tab)
            page.wait_for("[role=tabpanel]")
            assert not page.run(wide)
            assert not page.run("const e = document.querySelector('.panel'); return e.scrollWidth > e.clientWidth")
        if width < 820:
            assert page.texts(LIST) == []
            page.click(".back")
            page.wait_for(LIST)


def test_dark_and_light(open_page):
    page = open_page()

    def brightness(selector, of):
        return sum(int(part) for part in re.findall(r"\d+", page.colour(selector, of))[:3])

    assert brightness("body", "backgroundColor") > 700
    assert brightness("body", "color") < 150
    dark(page.driver)
    assert brightness("body", "backgroundColor") < 150
    assert brightness("body", "color") > 600


def test_everything_has_a_name_for_who_cannot_see_it(page):
    with page.client() as client:
        client.chat("mistral-tiny", HELLO, max_tokens=3)
    page.click(LIST + " a")
    page.click("[role=tab]", "Ask again")
    page.wait_for("textarea")
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = {
        "button",
        "link",
        "textbox",
        "searchbox",
        "spinbutton",
        "checkbox",
        "combobox",
        "tab",
        "tabpanel",
        "navigation",
        "region",
    }
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node.get("ignored")]
    assert [role for role, name in named if role in controls and not name] == []
    assert {"banner", "main", "navigation", "region", "tablist", "status"} <= {role for role, _ in named}
    assert page.run("return [...document.querySelectorAll('[role=tab]')].filter((e) => e.tabIndex === 0).length") == 1


def test_a_call_is_found_by_keyboard_alone(page):
    with page.client() as client:
        client.chat("mistral-tiny", HELLO, max_tokens=3)
    page.wait_for(LIST, "200")
    for _ in range(12):
        page.press("Tab")
        if page.run("return document.activeElement.closest('.calls a') !== null"):
            break
    page.press("Enter")
    page.wait_for(".answer .tokens")
    page.run("document.querySelector('[role=tab][aria-selected=true]').focus()")
    page.press("ArrowRight")
    page.wait_for(".borders .token")
    assert page.run("return document.activeElement.textContent") == "Prompt"


def test_the_page_survives_its_server(driver, talkative):
    """It says so, and goes on when a server is back."""
    server = Process("--model", talkative, "--context-length", 1000, real=True)
    page = Page(driver, f"http://127.0.0.1:{server.address[1]}")
    try:
        driver.get(page.url)
        page.wait_for(".state.live")
        with page.client() as client:
            client.chat("mistral-tiny", HELLO, max_tokens=3)
        page.wait_for(LIST, "200")
        server.end()
        page.wait_for("#state", "not connected")
        server = Process("--model", talkative, "--context-length", 1000, "--port", server.address[1], real=True)
        page.wait_for(".state.live")
        page.wait_for("#empty")
    finally:
        driver.get("about:blank")
        server.end()
