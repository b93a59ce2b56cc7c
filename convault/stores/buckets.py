"""From `s3://`, `gs://` and `az://` to a store. What is secret comes from the environment alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store
from obstore.store import ObjectStore as Backend

from convault.errors import ConfigurationError
from convault.settings import environment
from convault.stores.bucket import BucketStore
from convault.stores.keys import is_key
from convault.stores.services import AZURE, GCS, S3, SERVICES, Service
from convault.urls import split_url

if TYPE_CHECKING:  # obstore has these for type checkers alone
    from obstore.store import ClientConfig, RetryConfig

_opening = Lock()
"""Nobody opens a store while another one's variables are hidden."""

MAX_PREFIX = 256
"""characters; with the longest key it stays below the 1,024 bytes that S3 allows"""


class Patience(NamedTuple):
    """How long a store is waited for before it is StoreUnavailable."""

    connect: float = 5.0
    """seconds"""
    request: float = 120.0
    """seconds for one request, body and answer: an object of 40 MiB needs 2.8 Mbit/s"""
    retries: int = 4
    """of a request, by obstore: broken connections, 5xx, 408 and 429; nothing else"""
    retrying: float = 60.0
    """seconds after which a request is not tried again"""
    pause: float = 0.2
    """seconds before a request is tried again for the first time; twice as long each time after"""


class Address(NamedTuple):
    """A URL of a bucket, taken apart. Nothing in it is secret."""

    service: Service
    container: str
    prefix: str
    """'' or a folder without the closing `/`"""
    parameters: dict[str, str]

    @property
    def url(self) -> str:
        """As it is shown; it opens the same store again."""
        path = f"{self.service.scheme}://{self.container}/{quote(self.prefix)}".rstrip("/")
        query = "&".join(f"{k}={quote(v, safe=':/')}" for k, v in sorted(self.parameters.items()))
        return f"{path}?{query}" if query else path


def open_bucket(url: str, patience: Patience = Patience()) -> BucketStore:  # noqa: B008
    """The store at `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`; nothing
    is asked of it yet. ConfigurationError says what is wrong, and repeats no secret."""
    address = parse(url)
    service, given = address.service, address.parameters
    endpoint = endpoint_of(service, given)
    config: dict[str, Any] = {
        name: value
        for variable, name in service.variables.items()
        if (value := environment(variable))
    }
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=patience.connect),
        "timeout": timedelta(seconds=patience.request),
    }
    retry: RetryConfig = {
        "max_retries": patience.retries,
        "retry_timeout": timedelta(seconds=patience.retrying),
        "backoff": {
            "init_backoff": timedelta(seconds=patience.pause),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }
    try:
        with _without(service, config):
            backend = _BACKENDS[service.scheme](address, endpoint, config, client, retry)
    except (BaseError, ValueError, OSError):
        raise ConfigurationError(
            f"The credentials for {address.url} cannot be used. Check "
            f"{', '.join(service.variables)}: that they are whole, and that a file which they name "
            "can be read."
        ) from None
    return BucketStore(backend, address.url, service)


@contextmanager
def _without(service: Service, config: Mapping[str, Any]) -> Iterator[None]:
    """Where a store has variables of its own, obstore does not find the first store's in the
    environment: half of one key with half of another opens nothing, or the wrong thing."""
    with _opening:
        theirs = [v for v, name in service.variables.items() if name not in config]
        # An endpoint is given to obstore where there is one.
        hidden = {*theirs, *service.endpoint_variables} & os.environ.keys()
        kept = {variable: os.environ.pop(variable) for variable in hidden}
        try:
            yield
        finally:
            os.environ.update(kept)


def parse(url: str) -> Address:
    """Take a URL apart. ConfigurationError."""
    parts = split_url(url)
    service = SERVICES[parts.scheme]
    wanted = f"A store's URL is {service.scheme}://{service.container}/prefix"
    if not re.fullmatch(service.container_pattern, parts.netloc):
        raise ConfigurationError(
            f"{wanted}, where the {service.container} is made of a-z, 0-9 and -, without a user, "
            "a password or a port."
        )
    prefix = unquote(parts.path).strip("/")
    if parts.fragment or (prefix and not is_key(prefix)) or len(prefix) > MAX_PREFIX:
        raise ConfigurationError(
            f"{wanted}, where the prefix is a folder of at most {MAX_PREFIX} ASCII characters "
            'without `..` or any of # % \\ ? * " < > | :'
        )
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) < len(pairs) or not parameters.keys() <= set(service.parameters):
        raise ConfigurationError(
            f"{wanted}; behind a ? may follow, each once: {', '.join(service.parameters)}. "
            "Credentials belong in the environment or in .env."
        )
    _check(service, parameters)
    return Address(service, parts.netloc, prefix, parameters)


def _check(service: Service, parameters: Mapping[str, str]) -> None:
    forms = {
        "style": (r"path|virtual", "path or virtual"),
        "allow_http": (r"true|false", "true or false"),
        "region": (r"[A-Za-z0-9-]{1,64}", "the name of a region"),
        "account": (r"[a-z0-9]{3,24}", "the name of a storage account"),
    }
    for name, value in parameters.items():
        if name in forms and not re.fullmatch(forms[name][0], value):
            raise ConfigurationError(f"In a {service.scheme}:// URL {name} is {forms[name][1]}.")


def endpoint_of(service: Service, parameters: Mapping[str, str]) -> str:
    """Where requests go, '' for the service's own place."""
    source = "endpoint in the URL"
    found = parameters.get("endpoint", "")
    for variable in service.endpoint_variables:
        if not found and (found := environment(variable) or ""):
            source = variable
    if not found:
        return ""
    parts = split_url(found)
    try:
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    if not plain or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            f"For a {service.scheme}:// store {source} is https://host or https://host:port, "
            "without a user, a password or a query."
        )
    if parts.scheme == "http" and not (
        is_loopback(parts.hostname or "") or parameters.get("allow_http") == "true"
    ):
        raise ConfigurationError(
            f"For a {service.scheme}:// store {source} is not encrypted: rows would cross the "
            "network for everyone to read. Use https, or add allow_http=true to the URL if the way "
            "there is safe."
        )
    return found.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, so that nothing crosses a network."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _s3(
    address: Address, endpoint: str, config: dict[str, Any], client: ClientConfig,
    retry: RetryConfig,
) -> Backend:  # fmt: skip
    given = address.parameters
    # Amazon wants the bucket in the host's name, most others in the path; a bucket with a dot in
    # its name fits no certificate.
    usual = "path" if endpoint or "." in address.container else "virtual"
    virtual = given.get("style", usual) == "virtual"
    if endpoint:
        if virtual:
            endpoint = endpoint.replace("://", f"://{address.container}.", 1)
        # Under both names: obstore would take the second from the environment, over the first.
        config |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    if "region" in given:
        config["region"] = given["region"]
    return S3Store(
        address.container,
        prefix=address.prefix or None,
        config=config,  # type: ignore[arg-type]
        virtual_hosted_style_request=virtual,
        # One DELETE per object: not every server that speaks S3 knows the other request.
        disable_bulk_delete=True,
        client_options=client,
        retry_config=retry,
    )


def _gcs(
    address: Address, endpoint: str, config: dict[str, Any], client: ClientConfig,
    retry: RetryConfig,
) -> Backend:  # fmt: skip
    if endpoint:
        config["base_url"] = endpoint
    return GCSStore(
        address.container,
        prefix=address.prefix or None,
        config=config,  # type: ignore[arg-type]
        client_options=client,
        retry_config=retry,
    )


def _azure(
    address: Address, endpoint: str, config: dict[str, Any], client: ClientConfig,
    retry: RetryConfig,
) -> Backend:  # fmt: skip
    if "account" in address.parameters:
        config["account_name"] = address.parameters["account"]
    if "account_name" not in config:
        raise ConfigurationError(
            "The storage account is not named: set AZURE_STORAGE_ACCOUNT_NAME, or add account= to "
            "the URL."
        )
    if endpoint:
        config["endpoint"] = endpoint
    return AzureStore(
        address.container,
        prefix=address.prefix or None,
        config=config,  # type: ignore[arg-type]
        client_options=client,
        retry_config=retry,
    )


_BACKENDS = {S3.scheme: _s3, GCS.scheme: _gcs, AZURE.scheme: _azure}
