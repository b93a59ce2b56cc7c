"""`convault up`: Prefect server, worker and API, with one command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import AsJson, print_json, say
from convault.home import home
from convault.settings import env_file, environment, load_settings

if TYPE_CHECKING:
    from deployments.stack.standing import Addresses


def up(
    demo: Annotated[
        bool,
        typer.Option("--demo", help="With a made-up school on an embedded Postgres; no settings."),
    ] = False,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Of the API, on 127.0.0.1.")
    ] = 8000,
    prefect_port: Annotated[
        int,
        typer.Option(metavar="PORT", min=1, max=65535, help="Of the Prefect server, likewise."),
    ] = 4200,
    folder: Annotated[
        Path | None,
        typer.Option("--home", metavar="DIR", help="With --demo: where the demo lives."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start the Prefect server, a worker and the API, and keep them running.

    Everything listens on 127.0.0.1 alone. Prepares catalog, store and Prefect server first, as
    init does; prints where all is, and how to sign in, once it is healthy. Ctrl-C or SIGTERM stops
    in order; twice, at once. A Prefect server that PREFECT_API_URL names is used instead of one of
    its own.

    Example: convault up --demo
    """
    import tasks  # noqa: F401  sets what Prefect must find in the environment when it is imported
    from cli.ending import ended_properly

    if port == prefect_port:
        raise typer.BadParameter("--port and --prefect-port must differ.")
    if folder is not None and not demo:
        raise typer.BadParameter("--home is for --demo; else set CONVAULT_HOME.")
    tell = _tell_programs if as_json else _tell
    with ExitStack() as stack:
        if demo:
            from cli.demo_stack import prepared

            stack.enter_context(ended_properly())
            ports = partial(_require_ports, port, prefect_port, own_server=True)
            place = stack.enter_context(prepared(folder, ports))
            _stand(place / "up", port, prefect_port, Path("/dev/null"), own_server=True, tell=tell)
        else:
            own_server = not environment("PREFECT_API_URL")
            _stand(
                home() / "up",
                port,
                prefect_port,
                env_file().absolute(),
                own_server=own_server,
                tell=tell,
            )


def _stand(
    folder: Path,
    port: int,
    prefect_port: int,
    settings_file: Path,
    *,
    own_server: bool,
    tell: Callable[[Addresses], None],
) -> None:
    from convault.installation import initialise
    from convault.signing import signing_key
    from deployments.stack.kept import held
    from deployments.stack.standing import Wanted, stand

    settings = load_settings()
    settings.require_source()
    settings.store_url()
    with held(folder) as kept:
        _require_ports(port, prefect_port, own_server=own_server)
        for line in initialise(settings).done:
            say(line)
        say(signing_key.ensure(settings).said)
        from api.keys import keys_of
        from api.tokens import verifier_of

        has_key = bool(keys_of(settings)) or verifier_of(settings) is not None
        wanted = Wanted(prefect_port, port, settings_file, own_server)
        stand(kept, load_settings(), wanted, has_key, tell)


def _require_ports(port: int, prefect_port: int, *, own_server: bool) -> None:
    from deployments.stack.ports import require_free

    require_free("the API", port, "--port")
    if own_server:
        require_free("the Prefect server", prefect_port, "--prefect-port")


def _tell_programs(there: Addresses) -> None:
    print_json(
        {
            "api": there.api,
            "api_key": there.api_key,
            "prefect": there.prefect,
            "sign_in": there.sign_in,
        }
    )
    sys.stdout.flush()


def _tell(there: Addresses) -> None:
    """On stdout: it is what the command is asked for."""
    print("Convault is up.")
    print(f"  API             {there.api}/docs")
    print(f"  Prefect server  {there.prefect}")
    if there.sign_in is not None:
        print(f"  Sign in there   {there.sign_in}")
    if there.api_key is not None and there.api_key_is_new:
        print(f"  Key of the API  {there.api_key}")
        print(f"                  made because none is set, and kept in {there.api_key_file}")
    elif there.api_key is not None:
        print(f"  Key of the API  in {there.api_key_file}")
    if there.api_key is not None:
        kept = shlex.quote(str(there.api_key_file))
        print(f'  For a shell     export CONVAULT_API_KEY="$(cat {kept})"')
    print("Ctrl-C stops everything.", flush=True)
