"""The clients of other people, each in an environment of its own, at versions that are written down here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

DRIVERS = Path(__file__).with_name("clients")


@dataclass(frozen=True, slots=True)
class Client:
    """A client: what is installed for it, and the script that drives it."""

    name: str
    packages: tuple[str, ...]
    driver: str
    standard: str = ""
    """Tests of its field's own that it must pass: a file for pytest."""
    example: str = ""
    """The one of our examples that uses it."""


CLIENTS = (
    Client("mistralai 0.0.12", ("mistralai==0.0.12",), "with_mistralai_0"),
    Client("mistralai 0.4.2", ("mistralai==0.4.2",), "with_mistralai_0"),
    Client("mistralai 1.12.4", ("mistralai==1.12.4",), "with_mistralai"),
    Client("mistralai 2.10.1", ("mistralai==2.10.1",), "with_mistralai"),
    Client("mistralai 3.7.0", ("mistralai==3.7.0",), "with_mistralai"),
    Client("openai 3.57.0", ("openai==3.57.0",), "with_openai"),
    Client(
        "langchain-mistralai 1.1.6",
        ("langchain-mistralai==1.1.6", "langchain-tests==1.1.9"),
        "with_langchain",
        "standard_langchain",
        "langchain_chat",
    ),
    Client("litellm 1.110.2", ("litellm==1.110.2",), "with_litellm"),
    Client(
        "llama-index-llms-mistralai 0.11.0",
        ("llama-index-llms-mistralai==0.11.0", "llama-index-embeddings-mistralai==0.6.0"),
        "with_llama_index",
    ),
    Client("pydantic-ai 2.68.0", ("pydantic-ai-slim[mistral]==2.68.0",), "with_pydantic_ai"),
    Client("instructor 1.17.0", ("instructor==1.17.0", "mistralai==1.12.4"), "with_instructor"),
)


def script(driver: str) -> Path:
    """The file of a driver, or of standard tests."""
    return DRIVERS / f"{driver}.py"


def client(name: str) -> Client:
    """The client of this name."""
    return next(each for each in CLIENTS if each.name == name)


def interpreter(client: Client, folder: Path) -> Path:
    """The Python of a client's environment below a folder, made first where it is not there yet.

    Raises `RuntimeError` with pip's words when something cannot be installed.
    """
    return environment(folder / client.name.replace(" ", "-"), client.packages)


def environment(place: Path, packages: tuple[str, ...]) -> Path:
    """The Python of an environment with these packages and what they need, made first where it is not there yet.

    Raises `RuntimeError` with pip's words when something cannot be installed.
    """
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = place / "installed"
    wanted = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(place.suffix + ".lock")):
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(place, ignore_errors=True)
            venv.create(place, with_pip=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            done = subprocess.run(pip, capture_output=True, text=True, timeout=900)
            if done.returncode:
                raise RuntimeError(f"{' '.join(packages)} cannot be installed:\n{done.stderr[-2000:]}")
            stamp.write_text(wanted)
    return python
