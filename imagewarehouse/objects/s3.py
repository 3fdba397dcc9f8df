"""Amazon S3, and the stores that speak as it does."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from obstore.store import S3Store as Client
from pyarrow import fs

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.objects.cloud import RETRY, CloudStore, client_options
from imagewarehouse.objects.location import Address, Location
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.text import one_line

# Of Arrow's URIs; the others change nothing here.
_OPTIONS = frozenset({"region", "scheme", "endpoint_override", "tls_ca_file_path", "allow_bucket_creation",
                      "allow_bucket_deletion", "allow_delayed_open", "check_directory_existence_before_creation"})  # fmt: skip


class S3Store(CloudStore):
    """An `ObjectStore` in a bucket; the bucket itself is only made where the URI says `allow_bucket_creation=true`."""

    def __init__(self, location: Location, settings: StoreSettings) -> None:
        address = location.address()
        unknown = sorted(set(address.options) - _OPTIONS)
        if unknown:
            known = ", ".join(sorted(_OPTIONS))
            raise ConfigurationError("Store URI", f"{location}: option {unknown[0]} is not one of {known}")
        self._config = _config(location, address, settings)
        self._bucket, self._makes_bucket = address.host, address.options.get("allow_bucket_creation") == "true"
        ca_file = address.options.get("tls_ca_file_path") or settings.ca_file

        def make(answer_s: float, whole_s: float) -> Any:
            options = client_options(
                replace(settings, ca_file=ca_file), answer_s, whole_s, self._config.get("endpoint", "")
            )
            return Client(address.host, prefix=address.path or None, client_options=options, retry_config=RETRY,
                          virtual_hosted_style_request=not settings.path_style, **self._config)  # fmt: skip

        super().__init__(location, settings, make)

    def check_writable(self) -> None:
        if self._makes_bucket:
            self._make_bucket()
        super().check_writable()

    def _make_bucket(self) -> None:
        # obstore makes no buckets; Arrow does, and it is for a test or a first try only.
        scheme, _, host = self._config.get("endpoint", "").rpartition("://")
        known = {"access_key": "access_key_id", "secret_key": "secret_access_key", "session_token": "session_token",
                 "region": "region"}  # fmt: skip
        given = {name: self._config[theirs] for name, theirs in known.items() if theirs in self._config}
        try:
            fs.S3FileSystem(
                **given, scheme=scheme or "https", endpoint_override=host or None, allow_bucket_creation=True
            ).create_dir(self._bucket)
        except (OSError, pa.ArrowException) as err:
            said = one_line(self._settings.hide(self.location.hide(str(err))))
            raise ConfigurationError("Store URI", f"{self.location} cannot be made: {said}") from err


def _config(location: Location, address: Address, settings: StoreSettings) -> dict[str, Any]:
    """Login, region and endpoint for obstore; what is not given it takes out of the environment or from the machine's role."""
    key, secret, token = address.user, address.password, ""
    if not key:
        key, secret, token = settings.access_key, settings.secret_key, settings.session_token
    if bool(key) != bool(secret):
        raise ConfigurationError("Store Secret Key", f"{location}: an access key and its secret come together")
    profile = {} if key or "AWS_ACCESS_KEY_ID" in os.environ else _profile(os.environ)
    key, secret = key or profile.get("aws_access_key_id", ""), secret or profile.get("aws_secret_access_key", "")
    token = token or profile.get("aws_session_token", "")
    endpoint = _endpoint(address, settings)
    environment = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    region = address.options.get("region") or settings.region or environment or profile.get("region", "")
    if not region:
        asks = not endpoint and not any(name.startswith("AWS_ENDPOINT") for name in os.environ)
        region = _region(location, address.host) if asks else "us-east-1"
    given = {"access_key_id": key, "secret_access_key": secret, "session_token": token, "region": region,
             "endpoint": endpoint}  # fmt: skip
    return {name: value for name, value in given.items() if value}


def _endpoint(address: Address, settings: StoreSettings) -> str:
    host = address.options.get("endpoint_override", "")
    endpoint = f"{address.options.get('scheme', 'https')}://{host}" if host else settings.endpoint.rstrip("/")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError(
            "Store Endpoint", f"expected a URL such as https://host:9000, received {endpoint[:80]!r}"
        )
    return endpoint


def _region(location: Location, bucket: str) -> str:
    """Where Amazon says that the bucket is. Raises ConfigurationError."""
    try:
        return str(fs.resolve_s3_region(bucket))
    except (OSError, pa.ArrowException, ValueError) as err:
        raise ConfigurationError("Store Region", f"{location}: {location.hide(one_line(err))}") from err


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    """The values of the profile in the files that Amazon's own tools read; empty where there are none."""
    name = environ.get("AWS_PROFILE", "default")
    home = Path(environ.get("HOME", "/")) / ".aws"
    files = ((environ.get("AWS_CONFIG_FILE", str(home / "config")), name if name == "default" else f"profile {name}"),
             (environ.get("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials")), name))  # fmt: skip
    values: dict[str, str] = {}
    for file, section in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):  # Amazon's tools would say what is wrong with it
            continue
        if parser.has_section(section):
            values |= dict(parser.items(section))
    return values
