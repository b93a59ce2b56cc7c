"""The object stores that are spoken to over HTTP: what each is called and where it is set up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of object store."""

    scheme: str
    name: str
    container: str
    """what it calls the place that holds objects"""
    container_pattern: str
    variables: dict[str, str]
    """environment variable -> obstore's name for it; they may stand in `.env` too"""
    endpoint_variables: tuple[str, ...]
    """the first that is set counts"""
    parameters: tuple[str, ...]
    """what may follow the `?` of a URL"""
    rights: str
    """what its credentials must allow"""


S3 = Service(
    scheme="s3",
    name="S3",
    container="bucket",
    container_pattern=r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    variables={
        "AWS_ACCESS_KEY_ID": "access_key_id",
        "AWS_SECRET_ACCESS_KEY": "secret_access_key",
        "AWS_SESSION_TOKEN": "session_token",
        "AWS_REGION": "region",
        "AWS_DEFAULT_REGION": "default_region",
    },
    endpoint_variables=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    parameters=("endpoint", "region", "style", "allow_http"),
    rights="s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket",
)
GCS = Service(
    scheme="gs",
    name="Google Cloud Storage",
    container="bucket",
    container_pattern=r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
    variables={
        "GOOGLE_APPLICATION_CREDENTIALS": "application_credentials",
        "GOOGLE_SERVICE_ACCOUNT": "service_account",
        "GOOGLE_SERVICE_ACCOUNT_KEY": "service_account_key",
    },
    endpoint_variables=("GOOGLE_BASE_URL",),
    parameters=("endpoint", "allow_http"),
    rights="the role Storage Object User (and storage.objects.list)",
)
AZURE = Service(
    scheme="az",
    name="Azure Blob Storage",
    container="container",
    container_pattern=r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
    variables={
        "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
        "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
        "AZURE_STORAGE_SAS_TOKEN": "sas_key",
        "AZURE_CLIENT_ID": "client_id",
        "AZURE_CLIENT_SECRET": "client_secret",
        "AZURE_TENANT_ID": "tenant_id",
    },
    endpoint_variables=("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    parameters=("endpoint", "account", "allow_http"),
    rights="the role Storage Blob Data Contributor",
)
SERVICES = {service.scheme: service for service in (S3, GCS, AZURE)}
