"""No secret and no row's value reaches what is shown or kept: runs that succeed and that fail.

Marked secrets and rows go through one set of runs against the real Prefect server; then every place
is searched. That the search can find is proved by a flow that leaks on purpose, and by the rows in
the parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from convault.embedded.server import EmbeddedPostgres
from tests.canaries import found
from tests.canary_runs import FLOWS, LEAKS, Evidence, everything_run
from tests.prefect_server import CHECKOUT, PrefectServer

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.events,
    pytest.mark.xdist_group("commands"),
    pytest.mark.timeout(1800),
]

PLACES = (
    "api", "worker", "output", "prefect", "catalog", "store", "copy", "tar", "processes",
    "messages",
)  # fmt: skip


@pytest.fixture(scope="module")
def evidence(
    cluster: EmbeddedPostgres,
    prefect_server: PrefectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Evidence]:
    """Run everything once."""
    with everything_run(cluster, prefect_server, tmp_path_factory.mktemp("canary")) as evidence:
        yield evidence


def test_every_run_ended_as_it_was_meant_to(evidence: Evidence) -> None:
    """Or else the places below would be clean because nothing happened."""
    assert evidence.ended == {
        "api": "well",
        "well": "well",
        "row": "SourceError",
        "password": "AuthenticationError",
        "url": "ConfigurationError",
        "store": "StoreError",
        "verify": "well",
        "drill": "well",
        "restore": "well",
        "target": "RestoreError",
        "cleanup": "well",
        "replicate": "well",
        "watch": "well",
    }


def test_no_flow_was_left_out() -> None:
    listed = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
    assert {each["entrypoint"].partition(":")[2] for each in listed} == set(FLOWS)


@pytest.mark.parametrize("place", PLACES)
def test_there_is_something_to_search(evidence: Evidence, place: str) -> None:
    assert sum(len(data) for _, data in evidence.places[place]) > 200


@pytest.mark.parametrize("leak", LEAKS)
def test_what_leaks_into_prefect_is_found(evidence: Evidence, leak: str) -> None:
    assert found([evidence.control + leak], evidence.places["prefect"])


def test_what_leaks_to_stdout_is_found(evidence: Evidence) -> None:
    assert found([evidence.control + "stdout"], evidence.places["control"])


def test_rows_are_found_in_the_parts(evidence: Evidence) -> None:
    hits = found(evidence.rows.values(), evidence.parts)
    assert {word for word, _ in hits} == set(evidence.rows.values())


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_and_no_row(evidence: Evidence, place: str) -> None:
    words = {**evidence.secrets, **evidence.rows}
    assert found(words.values(), evidence.places[place]) == set()


@pytest.mark.parametrize("place", [place for place in PLACES if place != "api"])
def test_no_link_that_was_given_out(evidence: Evidence, place: str) -> None:
    """Only whoever asked for it has it."""
    assert evidence.links
    assert found(evidence.links, evidence.places[place]) == set()


def test_no_secret_in_the_parts(evidence: Evidence) -> None:
    assert found(evidence.secrets.values(), evidence.parts) == set()
