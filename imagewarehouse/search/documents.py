"""Search documents. The interface stands; the Solr client is not written yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.metadata import ImageRecord


class DocumentStore(Protocol):
    """A search index. Writing a record whose request_id is there already overwrites its document."""

    def write(self, records: Sequence[ImageRecord]) -> None: ...


def open_documents(url: str) -> DocumentStore | None:
    """The index at `url`; None where it is empty, which switches the index off."""
    if url:
        raise ConfigurationError("Solr URL", "this release has no Solr client yet; leave it empty")
    return None
