"""From a location to the store that keeps its objects."""

from __future__ import annotations

from pyarrow import fs

from imagewarehouse.objects import azure
from imagewarehouse.objects.arrow import ArrowStore
from imagewarehouse.objects.azure import AzureStore
from imagewarehouse.objects.hbase import HBaseStore
from imagewarehouse.objects.hdfs import HdfsStore
from imagewarehouse.objects.local import LocalStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.s3 import S3Store
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.objects.store import ObjectStore

_NO_SETTINGS = StoreSettings()


def open_store(location: Location, settings: StoreSettings = _NO_SETTINGS) -> ObjectStore:
    """The store of that location. It need not answer yet: `check_writable` asks it.

    Raises ConfigurationError: nothing here knows such a store, or it needs a client that is not installed.
    """
    if location.scheme == "s3":
        return S3Store(location, settings)
    if location.scheme in ("webhdfs", "swebhdfs"):
        return HdfsStore(location, settings)
    if location.scheme == "hbase":
        return HBaseStore(location, settings)
    if location.scheme in ("abfs", "abfss") and azure.takes(location):
        return AzureStore(location, settings)
    filesystem, root = location.open()
    if isinstance(filesystem, fs.LocalFileSystem):
        return LocalStore(location, root)
    return ArrowStore(location, filesystem, root)
