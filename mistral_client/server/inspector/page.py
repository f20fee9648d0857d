"""The page: files that come with the package, and the fields that keep a browser from doing anything else with them."""

from __future__ import annotations

from importlib import resources

from .recorder import PREFIX

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def _read() -> dict[str, tuple[bytes, str]]:
    found = {}
    for file in resources.files(__package__).joinpath("page").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == "index.html" else PREFIX + file.name
            found[path] = file.read_bytes(), kind
    return found


PAGES = _read()
"""What is at each path: bytes and their type. It holds no data and asks for no key, for it is what asks for the key."""
