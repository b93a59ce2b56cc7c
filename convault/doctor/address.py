"""Whether a database URL of Supabase leads where a backup can go: host, port, user."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from psycopg.conninfo import conninfo_to_dict

from convault.doctor.finding import Finding, amber, not_checked, ok, red
from convault.sources.session import connection_string
from convault.stores.buckets import is_loopback

_DIRECT = re.compile(r"db\.([a-z0-9]{16,24})\.supabase\.(?:co|in|net|red|com)")
_POOLER = re.compile(r"(?P<host>[a-z0-9-]+\.pooler)\.supabase\.(?:co|in|net|red|com)")
_API = re.compile(r"([a-z0-9]{16,24})(?:\.storage)?\.supabase\.(?:co|in|net|red|com)")
_REF = re.compile(r"[^.]+\.([a-z0-9]{16,24})")
_SESSION_PORT, _TRANSACTION_PORT = 5432, 6543
_SEE = "(in the dashboard: Connect > Session pooler)"


@dataclass(frozen=True, slots=True)
class Address:
    """What a database URL says, without its password."""

    host: str
    """a name, an address, or the folder of a socket; '' for libpq's own default"""
    port: int
    user: str
    database: str = ""
    """as libpq takes it: the user's name where the URL names none"""

    @property
    def project(self) -> str | None:
        """The reference of the Supabase project that it names, if it names one."""
        if direct := _DIRECT.fullmatch(self.host):
            return direct[1]
        ref = _REF.fullmatch(self.user)
        return ref[1] if ref and _POOLER.fullmatch(self.host) else None

    def is_same_database(self, other: Address) -> bool:
        """Whether both lead to one database, as far as addresses tell: a project has one, whichever
        way leads to it, and this machine goes by several names."""
        if self.project or other.project:
            return (self.project, self.database) == (other.project, other.database)
        here = (machine(self.host), self.port, self.database)
        return here == (machine(other.host), other.port, other.database)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the name of a host leads to."""

    addresses: tuple[str, ...]
    """empty: the name does not resolve"""
    routes: bool
    """whether this machine has a way to one of them"""
    silent: bool = False
    """no name server answered, so nothing is known of the name"""


def parse(url: str) -> Address:
    """Take a database URL apart; of several hosts the first counts. ConfigurationError."""
    given = conninfo_to_dict(connection_string(url))
    host = str(given.get("host") or given.get("hostaddr") or "").split(",")[0]
    port = str(given.get("port") or "").split(",")[0]
    user = str(given.get("user") or "")
    database = str(given.get("dbname") or "") or user
    return Address(host.lower(), int(port or _SESSION_PORT), user, database)


def machine(host: str) -> str:
    """This machine has one name, whatever it is called; so it has behind a socket."""
    here = not host or host.startswith(("/", "@")) or is_loopback(host)
    return "localhost" if here else host.lower()


def project_of(host: str | None) -> str | None:
    """The reference of the project whose API or Storage is at `host`."""
    found = _API.fullmatch((host or "").lower())
    return found[1] if found else None


def resolve(host: str, port: int) -> Resolved | None:
    """Ask the resolver, and the routing table; nothing is sent to the host. None where there is no
    name to look up: a folder, or nothing."""
    if not host or host.startswith(("/", "@")):
        return None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Resolved((), False, silent=error.errno == socket.EAI_AGAIN)
    except OSError:
        return Resolved((), False)
    addresses = {str(entry[4][0]): entry[0] for entry in found}
    return Resolved(tuple(addresses), any(_routes(*pair, port) for pair in addresses.items()))


def _routes(address: str, family: socket.AddressFamily, port: int) -> bool:
    """Whether there is a way out: to connect a datagram socket sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
    except OSError:
        return False
    return True


def judge(name: str, address: Address, resolved: Resolved | None) -> Iterator[Finding]:
    """What host, port and user of a database URL tell, `resolved` being what its host leads to."""
    if resolved is None:
        yield ok(name, "a socket of this machine")
        return
    yield _reached(name, address, resolved)
    direct, pooler = _DIRECT.fullmatch(address.host), _POOLER.fullmatch(address.host)
    if pooler and address.project is None:
        yield red(
            f"{name}: user",
            f"the pooler at {address.host} serves all projects, and the user {address.user!r} "
            "names none",
            f"Write the user as {(address.user or 'postgres').split('.')[0]}.<project> {_SEE}.",
        )
    if (direct or pooler) and address.port == _TRANSACTION_PORT:
        yield red(
            f"{name}: port",
            "port 6543 is the transaction pooler, which gives each transaction another session; a "
            "backup needs one that lasts",
            "Use port 5432 of the session pooler, aws-<n>-<region>.pooler.supabase.com, with the "
            f"user {_pooler_user(address)} {_SEE}.",
        )


def _reached(name: str, address: Address, resolved: Resolved) -> Finding:
    ref = _DIRECT.fullmatch(address.host)
    if resolved.silent:
        return red(
            name,
            f"no name server answers, so nothing is known of {address.host}",
            "See this machine's network and its name servers (/etc/resolv.conf).",
        )
    if not resolved.addresses and (ref or _POOLER.fullmatch(address.host)):
        return red(
            name,
            f"the name {address.host} does not resolve: the project is paused or deleted, or "
            "the name is mistyped",
            "Open the project in the dashboard and restore it if it is paused; else copy the URL "
            f"anew {_SEE}.",
        )
    if not resolved.addresses:
        return red(
            name,
            f"the name {address.host} does not resolve",
            "Check the host in the URL, and the name servers of this machine.",
        )
    only_six = all(_is_six(text) for text in resolved.addresses)
    if only_six and not resolved.routes:
        return red(
            name,
            f"{address.host} has IPv6 addresses only, and this machine has no way there",
            f"Use the session pooler, which has IPv4: {_pooler_url(address)} {_SEE}; or "
            "buy the project's IPv4 add-on."
            if ref
            else "Give this machine IPv6, or use a host with an IPv4 address.",
        )
    if only_six and ref:
        return amber(
            name,
            f"{address.host} has IPv6 addresses only; they can be reached from here, but not from "
            "every machine",
            f"Nothing, as long as this machine has IPv6. The session pooler has IPv4: "
            f"{_pooler_url(address)} {_SEE}.",
        )
    if not resolved.routes:
        return red(
            name,
            f"this machine has no way to {address.host}",
            "Check its network.",
        )
    return ok(name, f"{address.host} resolves")


def _pooler_user(address: Address) -> str:
    user = (address.user or "postgres").split(".")[0]
    return f"{user}.{address.project or '<project>'}"


def _pooler_url(address: Address) -> str:
    return (
        f"host aws-<n>-<region>.pooler.supabase.com, port {_SESSION_PORT}, user "
        f"{_pooler_user(address)}"
    )


def _is_six(text: str) -> bool:
    try:
        return ip_address(text.partition("%")[0]).version == 6
    except ValueError:
        return False


def examine(name: str, url: str) -> Iterable[Finding]:
    """Look at the address of a database. ConfigurationError when it is no URL of one."""
    address = parse(url)
    if not address.host:
        return [not_checked(name, "the URL names no host")]
    return judge(name, address, resolve(address.host, address.port))
