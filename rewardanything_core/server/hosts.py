"""Which ``Host`` headers a server accepts.

A web page can give the server's address a host name of its own (DNS rebinding) and then send it requests as if to its
own server. The browser still sends that name in the ``Host`` header, so checking the header refuses such requests.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

ANY_ADDRESS = "*.*.*.*"
"""Accepts every IP address as a host: rebinding needs a name."""


def accepted_hosts(address: str, extra: Sequence[str], *, has_tokens: bool) -> list[str] | None:
    """The host names to accept; None for any.

    A token protects against rebinding by itself, so with one any host is accepted unless names are given.

    Args:
        address: The address or name that the server listens on.
        extra: Additional names.
        has_tokens: Whether requests need a token.
    """
    if has_tokens and not extra:
        return None
    hosts = [*LOOPBACK_NAMES, f"[{address}]" if ":" in address else address, *map(host_name, extra)]
    if not is_loopback(address):
        hosts += [ANY_ADDRESS, socket.gethostname()]
    return hosts


def is_loopback(address: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """The name in a ``Host`` header, in lower case and without the port."""
    return re.sub(r":\d*$", "", header.strip().lower())


def is_address(host: str) -> bool:
    """Whether a host is an IP address instead of a name; IPv6 addresses are in brackets."""
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        return False
    return host.startswith("[") == (":" in host)
