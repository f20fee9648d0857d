"""Who may look: programs of this machine, and of web pages the inspector's own alone."""

from __future__ import annotations

import ipaddress

from fastapi import Request

from mistral_client.server.guard import LOOPBACK_HOSTS, host_name, is_own, refusal

_BY_A_PROXY = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Fields that proxies add. What they pass on may come from anywhere."""


def gate(request: Request) -> None:
    """Raises the error for whoever may not look, whatever key it has."""
    host = host_name(request.headers) or ""
    here = host in LOOPBACK_HOSTS or is_loopback(host.strip("[]"))
    if not here or request.client is None or not is_loopback(request.client.host):
        raise refusal(403, "The inspector is for programs of this machine, by a loopback address.")
    if any(name in request.headers for name in _BY_A_PROXY):
        raise refusal(403, "The inspector is not for proxies.")


def own_page(request: Request) -> None:
    """Raises the error for what comes from another web page, which the browser says."""
    site = request.headers.get("sec-fetch-site", "none")
    origins = request.headers.getlist("origin")
    if site not in ("none", "same-origin") or not all(is_own(origin, request.headers) for origin in origins):
        raise refusal(403, "Only the inspector's own page may ask this.")


def is_loopback(address: str) -> bool:
    """Whether this is an address of the machine itself; a name is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
