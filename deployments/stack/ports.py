"""Whether a port of this machine is free."""

from __future__ import annotations

import errno
import socket

from convault.errors import PortTaken
from deployments.stack.parts import LOOPBACK


def require_free(name: str, port: int, option: str) -> None:
    """PortTaken when the part of that name could not listen there; `option` of `convault up` sets
    where it does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken" if taken else f"cannot be had ({error.strerror})"
            raise PortTaken(
                f"{name} was not started: port {port} of {LOOPBACK} {why}. Choose another with "
                f"{option}, or stop what listens there (`ss -ltnp 'sport = :{port}'` tells).",
                part=name,
                port=port,
            ) from None
