"""Shared code of the thin processors. Imports no `nifiapi`: it works on anything that behaves like NiFi's objects.

It lives here and not beside the processors because NiFi loads every sibling of a packaged processor under its bare
name into each processor's process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.ids import utc_now
from imagewarehouse.nifi import bridge, bundle
from imagewarehouse.units import parse_duration, parse_size

now = utc_now
bundle.check()  # every processor imports this module before anything compiled

T = TypeVar("T")

# Python's own logging, not self.logger: NiFi reads it from the process's output without a round trip to the JVM.
log = logging.getLogger("imagewarehouse")


class BuiltOnce(Generic[T]):
    """An object built from a processor's properties: when it is scheduled, or at the first image.

    NiFi does not call `onScheduled` again after it has replaced a crashed Python process, so `get` builds as well.
    Thread-safe; parallel tasks wait for one build.
    """

    def __init__(self, build: Callable[[Any], T], close: Callable[[T], None] | None = None) -> None:
        self._build = build
        self._close = close
        self._lock = threading.Lock()
        self._built: tuple[T] | None = None  # a tuple, because None may be what was built

    def renew(self, context: Any) -> T:
        """Build from the properties as they are now, and let go of what was built before."""
        with self._lock:
            self._discard()
            self._built = (self._build(context),)
            return self._built[0]

    def get(self, context: Any) -> T:
        built = self._built
        if built is None:
            with self._lock:
                if self._built is None:
                    self._built = (self._build(context),)
                built = self._built
        return built[0]

    def release(self) -> None:
        with self._lock:
            self._discard()

    def _discard(self) -> None:
        if self._built is not None and self._close is not None:
            self._close(self._built[0])
        self._built = None


def text(context: Any, name: str, default: str = "") -> str:
    """A property's value, stripped; `default` where it is not set or hidden by a dependency."""
    value = context.getProperty(name)
    raw = value.getValue() if value is not None else None
    return default if raw is None or not str(raw).strip() else str(raw).strip()


def integer(context: Any, name: str, default: int) -> int:
    raw = text(context, name, str(default))
    try:
        return int(raw)
    except ValueError as err:
        raise ConfigurationError(name, f"expected a whole number, received {raw!r}") from err


def boolean(context: Any, name: str, default: bool = False) -> bool:
    raw = text(context, name, str(default)).lower()
    if raw not in ("true", "false"):
        raise ConfigurationError(name, f"expected true or false, received {raw!r}")
    return raw == "true"


def data_size(context: Any, name: str, default: int) -> int:
    """A size such as `20 MB` in bytes (1 KB = 1,024 bytes, as in NiFi)."""
    raw = text(context, name, f"{default} B")
    size = parse_size(raw)
    if size is None:
        raise ConfigurationError(name, f"expected a size such as 20 MB, received {raw!r}")
    return size


def seconds(context: Any, name: str, default: float) -> float:
    """A time such as `30 sec` in seconds."""
    raw = text(context, name, f"{default} sec")
    duration = parse_duration(raw)
    if duration is None:
        raise ConfigurationError(name, f"expected a time such as 30 sec, received {raw!r}")
    return duration


def evaluated(context: Any, flow_file: Any, name: str, default: str = "") -> str:
    """A property's value for one FlowFile: as `text`, with its Expression Language filled in."""
    value = context.getProperty(name)
    raw = value.getValue() if value is not None else None
    if raw is not None and "${" in str(raw):
        raw = value.evaluateAttributeExpressions(flow_file).getValue()
    return default if raw is None or not str(raw).strip() else str(raw).strip()


def read_content(flow_file: Any) -> bytes:
    """The content of a FlowFile; the one place where processors read it."""
    return bridge.read(flow_file)


def failed(error: WarehouseError) -> dict[str, str]:
    """Attributes of a FlowFile that could not be processed."""
    return {"status": "failed", "error_code": error.code, "error_detail": str(error)}
