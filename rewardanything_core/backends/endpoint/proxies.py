"""The proxy of the environment: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case."""

from __future__ import annotations

import ipaddress
import urllib.request
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment configures for a URL.

    A proxy may lack the scheme (``host:port``). ``NO_PROXY`` has names, which include their subdomains, addresses and
    networks (``10.0.0.0/8``), each with or without a port, or ``*`` for all hosts.

    Args:
        url: The URL of the request.

    Returns:
        The proxy's URL. None: the request goes to the server directly.
    """
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    if any(_includes(entry.strip().lower(), parts) for entry in proxies.get("no", "").split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _includes(entry: str, url: SplitResult) -> bool:
    """Whether an entry of ``NO_PROXY`` means the host of a URL."""
    scheme, separator, rest = entry.rpartition("://")
    if (separator and scheme not in (url.scheme, "all")) or not rest:
        return False
    if rest == "*":
        return True
    host = (url.hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rest.strip("[]"), strict=False)
    except ValueError:  # a name or a port on either side
        pass
    try:
        named = urlsplit(f"//{rest}")
        if named.port not in (None, url.port or _PORTS.get(url.scheme)):
            return False
    except ValueError:
        return False
    name = (named.hostname or "").removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
