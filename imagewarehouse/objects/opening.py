"""From a location to the store that keeps its objects."""

from __future__ import annotations

from pyarrow import fs

from imagewarehouse.objects.arrow import ArrowStore
from imagewarehouse.objects.local import LocalStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.store import ObjectStore


def open_store(location: Location) -> ObjectStore:
    """The store of that location. It need not answer yet: `check_writable` asks it.

    Raises ConfigurationError: nothing here knows such a store, or it needs a client that is not installed.
    """
    filesystem, root = location.open()
    if isinstance(filesystem, fs.LocalFileSystem):
        return LocalStore(location, root)
    return ArrowStore(location, filesystem, root)
