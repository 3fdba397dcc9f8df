"""Azure Blob Storage: `abfss://container@account.dfs.core.windows.net/images`, or `abfss://container@account/images`."""

from __future__ import annotations

from typing import Any

from obstore.store import AzureStore as Client

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.objects.cloud import RETRY, CloudStore, client_options
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.settings import StoreSettings


class AzureStore(CloudStore):
    """An `ObjectStore` in a container, which has to be there."""

    def __init__(self, location: Location, settings: StoreSettings) -> None:
        config = _config(location, settings)
        container, prefix = location.address().user, location.address().path

        def make(answer_s: float, whole_s: float) -> Any:
            options = client_options(settings, answer_s, whole_s, config.get("endpoint", ""))
            return Client(container, prefix=prefix or None, client_options=options, retry_config=RETRY, **config)

        super().__init__(location, settings, make)


def takes(location: Location) -> bool:
    """Whether it is written as `container@account`, and needs nothing that only Arrow knows."""
    address = location.address()
    return bool(address.user) and not address.password and not address.options


def _config(location: Location, settings: StoreSettings) -> dict[str, Any]:
    """Account and key for obstore; without a key it uses the environment or the identity of the machine."""
    account = settings.access_key or location.address().host.partition(".")[0]
    if settings.endpoint and not settings.endpoint.startswith(("http://", "https://")):
        raise ConfigurationError("Store Endpoint", f"expected a URL, received {settings.endpoint[:80]!r}")
    given = {"account_name": account, "account_key": settings.secret_key, "endpoint": settings.endpoint.rstrip("/")}
    return {name: value for name, value in given.items() if value}
