"""The API as a process: `python -m api.serving --host 127.0.0.1 --port 8000`.

Without any key it starts on loopback alone, with a key that it makes up and prints once.
"""

from __future__ import annotations

import argparse
import ipaddress
import secrets
import sys
from collections.abc import Sequence

from pydantic import SecretStr

from api.app import create_app
from api.keys import keys_of
from api.tokens import verifier_of
from convault.errors import ConfigurationError, ConvaultError
from convault.lifeline import end_with_stdin
from convault.settings import Settings, load_settings

_GRACE = 10
"""seconds that open requests get when it is told to stop"""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def with_key(settings: Settings, host: str) -> tuple[Settings, str | None]:
    """The settings, with a key that was made up where they have no way in, and that key.
    ConfigurationError when others can reach `host`: then somebody must have thought of a key."""
    if keys_of(settings) or verifier_of(settings) is not None:
        return settings, None
    if not is_loopback(host):
        raise ConfigurationError(
            f"There is no key, and others can reach {host}: the API does not start there. Set "
            "CONVAULT_API_KEY (`openssl rand -hex 32`), CONVAULT_API_KEYS or SUPABASE_URL, or let "
            "it listen on 127.0.0.1."
        )
    key = f"cvk_{secrets.token_urlsafe(32)}"
    return settings.model_copy(update={"convault_api_key": SecretStr(key)}), key


def serve(host: str, port: int, *, lifeline: bool) -> None:
    """Serve until SIGTERM; with `lifeline`, until stdin ends. ConfigurationError."""
    import uvicorn

    settings, key = with_key(load_settings(), host)
    app = create_app(settings)
    if key is not None:
        print(f"No key is set. This one holds until the API stops: {key}", flush=True)
    if lifeline:
        end_with_stdin()
    uvicorn.run(app, host=host, port=port, timeout_graceful_shutdown=_GRACE, server_header=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m api.serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--lifeline", action="store_true", help="stop when stdin ends")
    given = parser.parse_args(arguments)
    try:
        serve(given.host, given.port, lifeline=given.lifeline)
    except ConvaultError as error:
        print(f"convault: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
