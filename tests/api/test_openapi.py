"""What /openapi.json promises."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.routes.listing import Backup
from convault.catalog.base import BackupRecord
from convault.models import BackupOptions
from tests.patience import PATIENCE
from tests.serving import PATH, client_of


@pytest.fixture(scope="module")
def document(url: str) -> Any:
    with client_of(url, key=None) as stranger:
        return stranger.get("/openapi.json").json()


def without_required(schema: Any) -> Any:
    """FastAPI leaves members that are null out of examples."""
    if isinstance(schema, dict):
        return {k: without_required(v) for k, v in schema.items() if k != "required"}
    return [without_required(each) for each in schema] if isinstance(schema, list) else schema


def test_post_documents_its_answers(document: Any) -> None:
    answers = document["paths"][PATH]["post"]["responses"]
    errors = {"400", "401", "403", "409", "413", "415", "422", "429", "502", "503"}
    assert set(answers) == {"202", *errors}


def test_get_documents_its_answers(document: Any) -> None:
    answers = document["paths"][PATH]["get"]["responses"]
    assert set(answers) == {"200", "304", "401", "403", "422", "429", "503"}


def test_each_answer_has_an_example_and_each_error_is_a_problem(document: Any) -> None:
    """Only `GET /verify` tells what it found whether it is well or not."""
    problems = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                where = f"{method} {path} {status}"
                content = answer.get("content", {})
                if int(status) >= 400 and where != f"get {PATH}/verify 503":
                    assert list(content) == ["application/problem+json"], where
                    problem = content["application/problem+json"]
                    Draft202012Validator(problem["schema"]).validate(problem["example"])
                    assert problem["example"]["status"] == int(status), where
                    problems += 1
                elif "application/json" in content:
                    shown = content["application/json"]
                    schema = {**shown["schema"], "components": document["components"]}
                    Draft202012Validator(without_required(schema)).validate(shown["example"])
    assert problems > 100


def test_each_body_has_an_example_that_it_takes(document: Any) -> None:
    bodies = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                examples = [each["value"] for each in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                assert examples, f"{method} {path}"
                for example in examples:
                    Draft202012Validator(content["schema"]).validate(example)
                bodies += 1
    assert bodies > 7


def test_examples_of_records_are_records(document: Any) -> None:
    accepted = document["paths"][PATH]["post"]["responses"]["202"]
    BackupRecord.model_validate(accepted["content"]["application/json"]["example"])
    assert "Location" in accepted["headers"]
    shown = document["paths"][PATH]["get"]["responses"]["200"]["content"]["application/json"]
    [listed] = shown["example"]["backups"]
    BackupRecord.model_validate(listed)
    one = document["paths"][f"{PATH}/{{backup_id}}"]["get"]["responses"]["200"]
    Backup.model_validate(one["content"]["application/json"]["example"])


def test_examples_of_bodies_are_options(document: Any) -> None:
    body = document["paths"][PATH]["post"]["requestBody"]
    assert body["required"] is False
    content = body["content"]["application/json"]
    assert "compressionLevel" in content["schema"]["properties"]
    for example in content["examples"].values():
        Draft202012Validator(content["schema"]).validate(example["value"])
        BackupOptions.parse(example["value"])


def test_both_headers_are_documented(document: Any) -> None:
    schemes = document["components"]["securitySchemes"].values()
    assert {scheme["type"] for scheme in schemes} == {"http", "apiKey"}
    for method in ("get", "post"):
        assert len(document["paths"][PATH][method]["security"]) == 2


def test_health_is_open_and_says_only_that_it_lives(url: str, document: Any) -> None:
    with client_of(url, key=None) as stranger:
        assert stranger.get("/healthz").json() == {"status": "alive"}
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_docs_are_served(url: str) -> None:
    assert httpx.get(f"{url}/docs", timeout=PATIENCE).status_code == 200
