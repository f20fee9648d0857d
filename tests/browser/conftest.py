"""One browser for all tests, and a server with a small Mixtral that can write without end."""

from __future__ import annotations

import contextlib
import importlib.util

import pytest

from mistral_client.server.weights.baby import write_gguf
from tests.server.process import Process

from .chromium import BROWSER, DRIVER, chromium, dark, resize
from .page import Page


@pytest.fixture(scope="session")
def driver():
    if BROWSER is None or DRIVER is None:
        pytest.skip("there is no Chromium with its driver here: apt-get install chromium chromium-driver")
    if importlib.util.find_spec("selenium") is None:
        pytest.skip("selenium is not installed: pip install 'mistral-client[dev]'")
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def talkative(tmp_path_factory):
    """The baby never ends by itself, and in this one its context is not full for a minute."""
    return write_gguf(tmp_path_factory.mktemp("talkative") / "talkative.gguf", context=2**15)


@pytest.fixture(scope="session")
def started(talkative):
    """Starts servers; one that was asked for with the same options before is used again."""
    servers = {}
    with contextlib.ExitStack() as ending:

        def start(*options):
            if options not in servers:
                server = Process("--model", talkative, "--context-length", 2**15, "--slots", 2, *options, real=True)
                ending.callback(server.end)
                servers[options] = f"http://127.0.0.1:{server.address[1]}"
            return servers[options]

        yield start


@pytest.fixture
def open_page(driver, started):
    """Opens the page of a server with these options, on a screen of this size; nothing may have gone wrong there."""

    def start(*options, width=1280, height=800, expect=".state.live"):
        url = started(*options)
        resize(driver, width, height)
        dark(driver, wanted=False)
        driver.get("about:blank")
        driver.get_log("browser")
        driver.get(url)
        page = Page(driver, url)
        page.wait_for(expect)
        return page

    yield start
    driver.get("about:blank")  # so that no page asks for probabilities any more
    complaints = [line["message"] for line in driver.get_log("browser") if line["level"] != "INFO"]
    assert [line for line in complaints if " 401 " not in line] == []
