"""Every error of the warehouse: a stable code, an HTTP status, and whether a retry may succeed.

The code becomes the attribute and column `error_code`, a label on dashboards and the last part of the `type` of an
RFC 9457 answer; it never changes once released. The message is one readable line and becomes `error_detail`.
"""

from __future__ import annotations

from functools import cache
from typing import ClassVar

from imagewarehouse.text import printable


class WarehouseError(Exception):
    """Base of all errors; on its own it means a defect of ours, so its text stays in the log.

    The message becomes one line: part of it may come from a client, who must not write lines into our log, nor colours
    into an operator's terminal.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ConfigurationError(WarehouseError):
    """A setting is wrong; `setting` names it as the operator wrote it."""

    code = "configuration"
    title = "Wrong setting"

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class ImageRejected(WarehouseError):
    """The request will never pass, however often it is tried."""

    code = "rejected"
    title = "Request rejected"
    http_status = 400


# --- the request around the image ---------------------------------------------------------------------------------


class MethodNotAllowed(ImageRejected):
    code, title, http_status = "request.method_not_allowed", "Method not allowed", 405


class NotFound(ImageRejected):
    code, title, http_status = "request.not_found", "Nothing is served here", 404


class AccessKeyMissing(ImageRejected):
    code, title, http_status = "access.key_missing", "Access key missing", 401


class AccessKeyWrong(ImageRejected):
    code, title, http_status = "access.key_wrong", "Access key not known", 401


class NotAllowed(ImageRejected):
    """The key is known, and lacks the scope that this takes."""

    code, title, http_status = "access.not_allowed", "Access key may not do this", 403


class BadIdempotencyKey(ImageRejected):
    code, title, http_status = "request.bad_idempotency_key", "Idempotency-Key not usable", 400


class EncodingNotAccepted(ImageRejected):
    code, title, http_status = "request.encoding_not_accepted", "Content-Encoding not accepted", 415


class TooSlow(ImageRejected):
    code, title, http_status = "request.too_slow", "Body came too slowly", 408


class NoBody(ImageRejected):
    code, title, http_status = "request.no_body", "Request without a body", 400


class TooLarge(ImageRejected):
    code, title, http_status = "request.too_large", "Body too large", 413


class MalformedRequest(ImageRejected):
    code, title, http_status = "request.malformed", "Malformed HTTP request", 400


class HeadTooLarge(ImageRejected):
    code, title, http_status = "request.head_too_large", "Request line and headers are too long", 431


class MalformedMultipart(ImageRejected):
    code, title, http_status = "request.malformed_multipart", "Malformed multipart body", 400


class TooManyParts(ImageRejected):
    code, title, http_status = "request.too_many_parts", "More than one file or part", 400


class NotAFile(ImageRejected):
    code, title, http_status = "request.not_a_file", "Form without a file", 400


class MalformedJson(ImageRejected):
    code, title, http_status = "request.malformed_json", "Malformed JSON body", 400


class MalformedBase64(ImageRejected):
    code, title, http_status = "request.malformed_base64", "Malformed base64", 400


class UriNotAllowed(ImageRejected):
    code, title, http_status = "request.uri_not_allowed", "image_uri outside the allowed prefixes", 403


class UriNotReadable(ImageRejected):
    code, title, http_status = "request.uri_not_readable", "image_uri could not be read", 422


class TypeMissing(ImageRejected):
    code, title, http_status = "type.missing", "No type declared", 415


class TypeNotAccepted(ImageRejected):
    code, title, http_status = "type.not_accepted", "Declared type not accepted", 415


# --- reading what is stored ---------------------------------------------------------------------------------------


class NoSuchImage(ImageRejected):
    """Also what somebody is told who may not read the image: whether it exists is not theirs to know."""

    code, title, http_status = "image.not_found", "No such image", 404


class NoSuchRequest(ImageRejected):
    """No row of this request, or none that this key may read."""

    code, title, http_status = "request.unknown", "No such request", 404


class RangeNotSatisfiable(ImageRejected):
    code, title, http_status = "request.range_not_satisfiable", "Nothing of the image lies in this range", 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the image has {size} bytes")
        self.size = size


class BadParameter(ImageRejected):
    code, title, http_status = "request.bad_parameter", "Parameter not usable", 400


class NotAnImage(ImageRejected):
    code, title, http_status = "image.not_an_image", "Content is not an image", 415


class TypeMismatch(ImageRejected):
    code, title, http_status = "image.type_mismatch", "Content is not of the declared type", 415


class NoDecoder(ImageRejected):
    code, title, http_status = "image.no_decoder", "Type accepted, but not decodable here", 415


class TooManyPixels(ImageRejected):
    code, title, http_status = "image.too_many_pixels", "Too many pixels", 413


class TooManyFrames(ImageRejected):
    code, title, http_status = "image.too_many_frames", "Too many frames", 422


class Truncated(ImageRejected):
    code, title, http_status = "image.truncated", "Image ends too early", 422


class TrailingData(ImageRejected):
    code, title, http_status = "image.trailing_data", "Data behind the end of the image", 422


class Unsupported(ImageRejected):
    """A sound file of a kind that would come out wrong here."""

    code, title, http_status = "image.unsupported", "Images of this kind cannot be read here", 422


class Corrupt(ImageRejected):
    code, title, http_status = "image.corrupt", "Image cannot be decoded", 422


# --- errors of the warehouse -------------------------------------------------------------------------------------------------


class Unavailable(WarehouseError):
    """Something we depend on did not answer; the same request may pass later."""

    code, title, http_status, retryable = "unavailable", "Not available right now", 503, True


class Busy(Unavailable):
    code, title = "busy", "Too much work is waiting"


class ObjectStoreUnavailable(Unavailable):
    code, title = "objects.unavailable", "Object store did not take the image"


class ObjectStoreRefused(ObjectStoreUnavailable):
    """The store answered and said no: login, rights, no such bucket. Trying again at once does not help; an operator does, so
    images wait for that as they wait for a store that is away."""

    code, title = "objects.refused", "Object store refused the image"


class ObjectError(WarehouseError):
    """About one object, and no further try will change it."""

    code, title = "objects.error", "Object not usable"


class ObjectMissing(ObjectError):
    code, title = "objects.missing", "Object is not there"


class ObjectConflict(ObjectError):
    """What is there is never overwritten by other bytes."""

    code, title = "objects.conflict", "Another object has this key"


class ObjectTooLarge(ObjectError):
    code, title = "objects.too_large", "Object larger than its store takes, or than was asked for"


class UriUnavailable(Unavailable):
    """The store behind an image_uri did not answer, or not in time; the image may be read later."""

    code, title = "request.uri_unavailable", "image_uri could not be read right now"


class ImageUnavailable(Unavailable):
    """What somebody is told who reads an image while its store, or the rows that say whose it is, do not answer."""

    code, title = "image.unavailable", "Image cannot be read right now"


class ObjectDamaged(WarehouseError):
    """What is in the store has another sha256 than the image that it was."""

    code, title = "objects.damaged", "Stored object is not the image any more"


class WrongImageId(WarehouseError):
    """Bytes that are not those of their image_id are never stored."""

    code, title = "objects.wrong_image_id", "image_id is not the sha256 of the image"


class RowStoreUnavailable(Unavailable):
    code, title = "rows.unavailable", "Row store did not take the row"


class SearchUnavailable(Unavailable):
    code, title = "search.unavailable", "The search index does not answer"


class SolrUnavailable(SearchUnavailable):
    """No node of Solr answered in time, or one that did cannot write just now; whether anything was written is unknown."""

    code, title = "solr.unavailable", "Solr does not answer, or cannot write"


class SolrNotAuthorized(SolrUnavailable):
    """Solr wants another login, or gives this one no right to write. An operator mends that, so documents wait for it."""

    code, title = "solr.not_authorized", "Not allowed by Solr"


class SolrCollectionMissing(SolrUnavailable):
    """There is no such collection or path; likewise."""

    code, title = "solr.collection_missing", "Solr has no such collection"


class SolrRefused(WarehouseError):
    """Solr will never take this document, or this update."""

    code, title = "solr.refused", "Refused by Solr"


class SolrConflict(SolrRefused):
    """The document in the index has another version than it must have, is there, or is not there."""

    code, title = "solr.conflict", "Another version of the document is in the index"


class SolrUnknownField(SolrRefused):
    code, title = "solr.unknown_field", "The collection has no such field"


class SolrMissingValue(SolrRefused):
    code, title = "solr.missing_value", "Required field without a value"


class SolrWrongValue(SolrRefused):
    code, title = "solr.wrong_value", "Value does not fit its field"


class SolrTooLarge(SolrRefused):
    code, title = "solr.too_large", "Document or text larger than Solr takes"


class SearchNotConfigured(WarehouseError):
    code, title = "search.not_configured", "Rows in Kudu are searched with Solr, and solr.url is not set"
    http_status = 501


class AnalyticsUnavailable(Unavailable):
    code, title = "analytics.unavailable", "The rows cannot be asked"


class RowRejected(WarehouseError):
    """The row store will never take this row."""

    code, title = "rows.rejected", "Row refused by the row store"


class RecordsMalformed(RowRejected):
    """The content of a FlowFile cannot be read as records."""

    code, title = "records.malformed", "Content is not the records it should be"


class KuduUnavailable(RowStoreUnavailable):
    """A master or a tablet server did not answer in time; whether the row was written is unknown."""

    code, title = "kudu.unavailable", "Kudu did not answer in time"


class SchemaChanged(KuduUnavailable):
    """The table was altered after it was opened: it has to be opened again."""

    code, title = "kudu.schema_changed", "Kudu's table was altered meanwhile"


class KuduTableMissing(RowRejected):
    code, title = "kudu.table_missing", "Kudu has no such table"


class KuduAlreadyPresent(RowRejected):
    code, title = "kudu.already_present", "A row with this key is there already"


class KuduNotFound(RowRejected):
    code, title = "kudu.not_found", "No row has this key"


class KuduNoRange(RowRejected):
    code, title = "kudu.no_range_partition", "No range partition takes this key"


class KuduUnknownColumn(RowRejected):
    code, title = "kudu.unknown_column", "The table has no such column"


class KuduWrongValue(RowRejected):
    code, title = "kudu.wrong_value", "Value does not fit the type of its column"


class KuduMissingValue(RowRejected):
    code, title = "kudu.missing_value", "Required column without a value"


class KuduCellTooLong(RowRejected):
    code, title = "kudu.cell_too_long", "Value longer than its column or Kudu takes"


class KuduImmutable(RowRejected):
    code, title = "kudu.immutable_column", "Column cannot be changed once it is written"


class KuduUnknownOperation(RowRejected):
    code, title = "kudu.unknown_operation", "Operation not known"


class KuduNotAuthorized(RowRejected):
    code, title = "kudu.not_authorized", "Not allowed by Kudu"


class KuduRefused(RowRejected):
    code, title = "kudu.refused", "Refused by Kudu"


class PackageBroken(WarehouseError):
    code, title = "package.broken", "Not a package of FlowFiles"


class ModelUnavailable(Unavailable):
    code, title = "model.unavailable", "Model could not be loaded"


class ModelBroken(WarehouseError):
    """The model folder is not what its manifest says, or the model does not fit the image."""

    code, title = "model.broken", "Model folder is not usable"


class InferenceFailed(WarehouseError):
    code, title = "model.inference_failed", "Model failed on this image"


@cache
def all_errors() -> dict[str, type[WarehouseError]]:
    """Every error class by its code, for documentation, dashboards and tests."""

    classes: dict[str, type[WarehouseError]] = {}
    pending: list[type[WarehouseError]] = [WarehouseError]
    while pending:
        cls = pending.pop()
        classes.setdefault(cls.code, cls)
        pending.extend(cls.__subclasses__())
    return classes
