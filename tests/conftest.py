"""Real Postgres for every test: the wheel's 18 and 16, and the system's where there is one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from convault.embedded.server import EmbeddedPostgres, wheel_binaries
from convault.sources.settling import unsettled
from tests.databases import Databases
from tests.patience import PATIENCE
from tests.soak import PERCENT
from tests.versions import SYSTEM_VERSIONS, params

pytest_plugins = [
    "tests.clusters",
    "tests.prefect_server",
    "tests.object_servers",
    "tests.supabase_stack",
]

# How long an example takes is the machine's matter: no test of a property is one of speed. (Where
# CI is set, Hypothesis has a profile that says so, too, and this one is made of it.)
settings.register_profile(
    "patient",
    settings.default,
    deadline=None,
    suppress_health_check={*settings.default.suppress_health_check, HealthCheck.too_slow},
)
settings.load_profile("patient")

_SETTINGS = ("CONVAULT_", "SUPABASE_", "AWS_", "GOOGLE_", "AZURE_")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A long value is no name for a test; and one with random ids in it is another in each worker,
    which must collect the same tests."""
    return argname if isinstance(val, str | bytes) and len(val) > 60 else None


def pytest_report_header() -> str | None:
    """That a soak was not a whole one is not to be overlooked."""
    percent = os.environ.get(PERCENT, "100")
    return None if percent == "100" else f"soak: {percent} % of what is asked for"


@pytest.hookimpl(trylast=True)  # after they were put into a random order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with what may take longest begin first, or one worker would still be at it when the
    others have ended. Whole modules: their fixtures are made once."""

    def modules(marker: str) -> set[Path]:
        return {item.path for item in items if item.get_closest_marker(marker) is not None}

    timeout, soak = modules("timeout"), modules("soak")
    items.sort(key=lambda item: (item.path in timeout, item.path in soak), reverse=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI everything can be installed, so a test that was skipped is a test that failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped:
        reporter.write_line(f"CI=true: {len(skipped)} skipped tests count as failures", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _patient_connections() -> Iterator[None]:
    """The product's limits for who does not answer at all count the pauses of the machine, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convault.catalog.connection._CONNECT_SECONDS", int(PATIENCE))
        patch.setattr("convault.catalog.supabase.api.CONNECT_SECONDS", PATIENCE)
        patch.setattr("convault.catalog.supabase.api.REQUEST_SECONDS", PATIENCE)
        patch.setattr("convault.sources.session.CONNECT_TIMEOUT", int(PATIENCE))
        patch.setitem(unsettled.__kwdefaults__, "timeout", PATIENCE)
        yield


@pytest.fixture(scope="session")
def cluster_of() -> Iterator[Callable[[int], EmbeddedPostgres]]:
    """Start (once per session and worker) a cluster of a major version."""
    # Not pytest's tmp_path: Postgres runs as `nobody` when the tests run as root.
    base = Path(tempfile.mkdtemp(prefix="cv-"))
    base.chmod(0o711)
    clusters: dict[int, EmbeddedPostgres] = {}

    def start(version: int) -> EmbeddedPostgres:
        if version not in clusters:
            binaries = SYSTEM_VERSIONS.get(version)
            cluster = EmbeddedPostgres(
                base / str(version),
                binaries=binaries or wheel_binaries(version),
                options={"fsync": "off", "max_connections": "200", "wal_level": "minimal",
                         "max_wal_senders": "0", "autovacuum": "off"},
            )  # fmt: skip
            cluster.start()
            clusters[version] = cluster
        return clusters[version]

    yield start
    for cluster in clusters.values():
        cluster.destroy()
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def cluster(cluster_of: Callable[[int], EmbeddedPostgres]) -> EmbeddedPostgres:
    """The newest Postgres; where the version does not matter."""
    return cluster_of(18)


@pytest.fixture(params=params(16, 18))
def any_cluster(
    request: pytest.FixtureRequest, cluster_of: Callable[[int], EmbeddedPostgres]
) -> EmbeddedPostgres:
    """Every version there is; where the version matters."""
    return cluster_of(request.param)


@pytest.fixture(scope="session")
def databases() -> Databases:
    """Those that are used again."""
    return Databases()


@pytest.fixture
def new_database(databases: Databases) -> Iterator[Callable[[EmbeddedPostgres], str]]:
    """Take empty databases; returns the URL of each. They are given back afterwards."""
    taken: list[tuple[EmbeddedPostgres, str]] = []

    def take(cluster: EmbeddedPostgres) -> str:
        taken.append((cluster, databases.take(cluster)))
        return taken[-1][1]

    yield take
    for cluster, url in taken:
        databases.give_back(cluster, url)


@pytest.fixture
def database(cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]) -> str:
    """URL of an empty database on the newest Postgres."""
    return new_database(cluster)


@pytest.fixture
def age_program() -> None:
    """For tests that ask the program age itself."""
    if shutil.which("age") is None:
        pytest.skip("the program age is not installed here (apt-get install age)")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's own settings or `.env`."""
    for name in list(os.environ):
        if name.startswith("CONVAULT_SOAK"):
            continue  # says how often, to `tests.soak.count`
        if name.startswith(_SETTINGS) or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setattr("convault.settings.ENV_FILE", tmp_path / ".env")
