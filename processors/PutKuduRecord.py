import dataclasses
import socket
from pathlib import Path

from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse import adapter
from imagewarehouse.answers import answer_record, is_public, problem
from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.listeners import is_awaited
from imagewarehouse.metadata import COLUMNS, record_from_attributes
from imagewarehouse.stores.rows import GroupCommit, open_rows


@use_case(
    description="Write one row for each image request, rejected ones included",
    notes="""The key is (event_time, request_id), both fixed at intake, so a FlowFile that comes twice leaves one row. Rows of
        parallel tasks share a commit.""",
    keywords=["kudu", "record", "upsert", "image"],
    configuration="Leave Kudu Masters empty to try things out: rows then go to a DuckDB file on the node.",
)
class PutKuduRecord(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = ["kudu", "put", "record", "upsert", "database", "image warehouse"]
        description = """Writes the record in the attributes as one row and, when the row is committed, makes the record as
            JSON, or the problem details of a rejected request, the content: ready for HandleHttpResponse."""

    KUDU_MASTERS = PropertyDescriptor(
        name="Kudu Masters",
        description="""host:port of each master, separated by commas. This release has no Kudu client yet: leave it empty, and
            rows go to the local database.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    LOCAL_DATABASE = PropertyDescriptor(
        name="Local Database",
        description="DuckDB file that takes the rows where Kudu Masters is empty. For trials and single nodes.",
        required=True,
        default_value="./image-warehouse/rows.duckdb",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(name="success", description="The row is committed; the content is the answer")
    RETRY = Relationship(
        name="retry", description="The row store did not take the row and nobody waits for an answer: loop it back"
    )
    REFUSED = Relationship(
        name="refused", description="The row is not written and a client waits: the content tells it so (503 or 500)"
    )

    def __init__(self, **kwargs):
        super().__init__()
        self.rows = adapter.Prepared(self._open, close=GroupCommit.close)
        self.node = socket.gethostname()

    def getPropertyDescriptors(self):
        return [self.KUDU_MASTERS, self.LOCAL_DATABASE]

    def getRelationships(self):
        return [self.SUCCESS, self.RETRY, self.REFUSED]

    def customValidate(self, context):
        if adapter.text(context, "Kudu Masters"):
            explanation = "this release has no Kudu client yet; leave it empty, and rows go to the local database"
            return [ValidationResult(subject="Kudu Masters", explanation=explanation, valid=False)]
        return []

    def onScheduled(self, context):
        self.rows.renew(context)

    def onStopped(self, context):
        self.rows.release()

    def transform(self, context, flowFile):
        get = flowFile.getAttribute
        request_id = get("request_id")
        try:
            record = record_from_attributes({c.name: value for c in COLUMNS if (value := get(c.name))})
            total_ms = (adapter.now() - record.event_time).total_seconds() * 1000
            record = dataclasses.replace(record, total_ms=round(max(0.0, total_ms), 3), node=self.node)
            self.rows.get(context).write(record)
        except WarehouseError as err:
            adapter.log.warning("PutKuduRecord: request %s: %s", request_id, err)
            if is_awaited(get):
                return _answered(
                    "refused",
                    problem(err.code, str(err) if is_public(err.code) else None, request_id),
                    adapter.failed(err),
                )
            if err.retryable:  # as it came: the row of the next try is the row of this one
                return FlowFileTransformResult(relationship="retry")
            return FlowFileTransformResult(relationship="failure", attributes=adapter.failed(err))
        return _answered("success", answer_record(record), {})

    def _open(self, context):
        if adapter.text(context, "Kudu Masters"):
            raise ConfigurationError("Kudu Masters", "this release has no Kudu client yet; leave it empty")
        path = adapter.text(context, "Local Database", "./image-warehouse/rows.duckdb")
        return GroupCommit(open_rows(Path(path)))


def _answered(relationship, answer, attributes):
    attributes |= {"http.response.status": str(answer.status), "mime.type": answer.media_type}
    if answer.retry_after is not None:
        attributes["Retry-After"] = str(answer.retry_after)
    return FlowFileTransformResult(relationship=relationship, attributes=attributes, contents=answer.body)
