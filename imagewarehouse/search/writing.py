"""Image records into the index, many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imagewarehouse.errors import SolrRefused, WarehouseError
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.search.documents import document
from imagewarehouse.solr.updates import Update, add
from imagewarehouse.solr.writing import Writing, write

if TYPE_CHECKING:
    from imagewarehouse.solr.client import Collection


class IndexedRecords:
    """The index as a store of records: a record that comes twice is one document, as its request_id is the document's id."""

    def __init__(
        self,
        collection: Collection,
        how: Writing,
        as_document: Callable[[ImageRecord], Mapping[str, Any]] = document,
    ) -> None:
        self._collection = collection
        self._how = how
        self._as_document = as_document

    def write(self, records: Sequence[ImageRecord]) -> list[WarehouseError | None]:
        """For each record None, or why it is not in the index: retryable, or of the record alone."""
        made = [self._update(record) for record in records]
        written = iter(write(self._collection, [update for update in made if isinstance(update, Update)], self._how))
        return [next(written) if isinstance(update, Update) else update for update in made]

    def close(self) -> None:
        self._collection.solr.close()

    def _update(self, record: ImageRecord) -> Update | WarehouseError:
        try:
            return add(self._as_document(record))
        except SolrRefused as err:
            return err
        except ValueError as err:  # a JSON text that is none
            return SolrRefused(str(err))
