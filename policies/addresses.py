"""The address a request comes from, as far as it can be trusted."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

Address = IPv4Address | IPv6Address


def client_address(request: HttpRequest) -> Address | None:
    """The client's address; None where it is not known, as over a Unix socket.

    Each trusted proxy appends to X-Forwarded-For whom it got the request from, so
    with n of them the n-th from the right is the client. Whatever stands further left
    was written by the client, and without proxies the whole header was.
    """
    text = str(request.META.get("REMOTE_ADDR", ""))
    forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
    if settings.NUM_PROXIES and forwarded:
        hops = forwarded.split(",")
        text = hops[-min(settings.NUM_PROXIES, len(hops))]
    try:
        address = ip_address(_without_port(text.strip()))
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _without_port(text: str) -> str:
    """The address of `192.0.2.1:4711`, `[2001:db8::1]:4711` or `fe80::1%eth0`.

    Some proxies write the port, and the interface of a link-local address fits no column.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.partition("%")[0]


def client_network(request: HttpRequest) -> str:
    """What limits are counted for: the address; of IPv6 the /64 that one site has.

    It is written as the network's first address, which fits where an address does.
    """
    address = client_address(request)
    if address is None:
        return "0.0.0.0"  # noqa: S104 (counted together: clients whose address is unknown)
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, 64), strict=False).network_address)
