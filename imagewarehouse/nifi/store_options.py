"""The properties of StoreImage that say where and how images are kept."""

from __future__ import annotations

from typing import Any

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.nifi import adapter
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.objects.store import ObjectStore


def open_images(context: Any) -> ImageStore:
    """Raises ConfigurationError, naming the property."""
    return ImageStore(open_objects(context))


def open_objects(context: Any) -> ObjectStore:
    """The store itself. Raises ConfigurationError, naming the property."""
    return open_store(Location.parse(adapter.text(context, "Store URI")), settings(context))


def settings(context: Any) -> StoreSettings:
    """Raises ConfigurationError, naming the property."""
    ours = StoreSettings()
    return StoreSettings(
        endpoint=adapter.text(context, "Store Endpoint"),
        region=adapter.text(context, "Store Region"),
        path_style=adapter.boolean(context, "Store Path Style", ours.path_style),
        access_key=adapter.text(context, "Store Access Key"),
        secret_key=adapter.text(context, "Store Secret Key"),
        session_token=adapter.text(context, "Store Session Token"),
        ca_file=adapter.text(context, "Store CA File"),
        connect_s=_timeout(context, "Store Connect Timeout", ours.connect_s),
        answer_s=_timeout(context, "Store Read Timeout", ours.answer_s),
    )


def _timeout(context: Any, name: str, default: float) -> float:
    seconds = adapter.seconds(context, name, default)
    if not 0.1 <= seconds <= 600:
        raise ConfigurationError(name, f"expected 100 ms to 10 min, received {seconds:g} s")
    return seconds
