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

from imagewarehouse.errors import ConfigurationError, SolrConflict, WarehouseError
from imagewarehouse.nifi import adapter, bridge, codec
from imagewarehouse.nifi import solr_options as options
from imagewarehouse.solr.delivery import Delivery
from imagewarehouse.steps.indexing import IndexDocuments


@use_case(
    description="Index each image's record for search",
    notes="""The document's id is request_id, so a FlowFile that comes twice leaves one document. Records of parallel tasks
        share a request.""",
    keywords=["solr", "search", "index", "image"],
    configuration="""Leave Record Source at image record and set Solr URL, such as http://solr:8983/solr/images. Left empty, the
        index is switched off; FlowFiles then leave on the relationship switched off.""",
)
@use_case(
    description="Index the records of a FlowFile, as PutSolrRecord did in NiFi 1.x",
    notes="""A document that Solr refuses costs that document only: the others are indexed, and the refused ones leave on bad
        documents with a code and a reason each.""",
    keywords=["solr", "put", "putsolrrecord", "record", "json", "arrow", "atomic update", "delete"],
    configuration="""Set Record Source to content, Solr URL, and Operation: add, update (atomic), delete or delete matching.""",
)
@use_case(
    description="Post a content to Solr as it is, as PutSolrContentStream did in NiFi 1.x",
    notes="The content is one request: Solr takes it or refuses it.",
    keywords=["solr", "put", "putsolrcontentstream", "xml", "csv", "commands"],
    configuration="""Set Record Source to commands, Solr URL, Content Stream Path and Content-Type. Properties of other names
        are parameters of the request, such as f.1, f.2 and split.""",
)
class PutSolrDocument(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = [
            "solr",
            "put",
            "search",
            "index",
            "document",
            "record",
            "update",
            "delete",
            "json",
            "arrow",
            "image warehouse",
        ]
        description = """Writes documents to Apache Solr: the image record in the attributes, any attributes, the records of the
            content (JSON or Arrow), or a content of Solr's own commands as it is. Without an address the index is switched
            off, and every FlowFile leaves on a relationship of its own, so that the canvas shows it."""

    SOLR_URL = PropertyDescriptor(
        name="Solr URL",
        description="""Address of the collection, such as http://solr:8983/solr/images. Several nodes are separated by commas:
            the next one is asked where one does not answer. SolrCloud by its ZooKeeper:
            zookeeper://zk1:2181,zk2:2181/solr/images. Left empty, and Solr Location too, the index is switched off.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    SOLR_TYPE = PropertyDescriptor(
        name="Solr Type",
        description="What Solr Location says. Standard: URLs of Solr. Cloud: the hosts of ZooKeeper.",
        required=True,
        default_value="Standard",
        allowable_values=["Cloud", "Standard"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    SOLR_LOCATION = PropertyDescriptor(
        name="Solr Location",
        description="""Instead of Solr URL, as in NiFi 1.x. Standard: http://solr:8983/solr/images, or without the collection.
            Cloud: zk1:2181,zk2:2181/solr, with the collection in Collection.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    COLLECTION = PropertyDescriptor(
        name="Collection",
        description="""The collection. Without a value: the one of the address. Expressions are for all sources but image
            record.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    RECORD_SOURCE = PropertyDescriptor(
        name="Record Source",
        description="""image record: the warehouse's own record in the attributes, one document. attributes: those in Fields To
            Index, one document. content: every record of the content. commands: the content is posted as it is.""",
        required=True,
        default_value="image record",
        allowable_values=["image record", "attributes", "content", "commands"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PACKAGES = PropertyDescriptor(
        name="FlowFile Packages",
        description="""true: every FlowFile speaks of many images, whose records are in the attribute package.records; the
            content is not read. false: every FlowFile is one image.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "image record")],
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
        description="""add: the record is the document. update: its fields change those of the document that is there (atomic
            update), or make one. delete: the document with its id. delete matching: every document that has each of its
            values; nothing in a value is query syntax.""",
        required=True,
        default_value="add",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    ID_FIELD = PropertyDescriptor(
        name="Id Field",
        description="The collection's unique key.",
        required=True,
        default_value="id",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    FIELDS_TO_INDEX = PropertyDescriptor(
        name="Fields To Index",
        description="""Names of fields as they are in the index, separated by commas; the id is always written. Without a value:
            all of the record. For attributes it is needed.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    FIELD_MAPPING = PropertyDescriptor(
        name="Field Mapping",
        description="""Fields of the index for fields of other names, as JSON: {"uuid": "id", "debug": ""}. An empty name drops
            the field.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    DATE_FIELDS = PropertyDescriptor(
        name="Date Fields",
        description="""Fields of the index, separated by commas, whose texts (ISO 8601 with any zone; UTC without) and whole
            numbers become Solr's form of a date, 2026-12-01T08:00:00Z. Dates of Arrow do so anyway.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    INTEGER_TIMESTAMPS = PropertyDescriptor(
        name="Integer Timestamps",
        description="What a whole number means in one of Date Fields: time since 1970-01-01 UTC in this unit.",
        required=True,
        default_value="millis",
        allowable_values=["millis", "micros", "seconds"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    NESTED_OBJECTS = PropertyDescriptor(
        name="Nested Objects",
        description="""flatten: an object within a record becomes fields named parent_child, a list of objects fields with
            several values. refuse: such a record is bad.""",
        required=True,
        default_value="flatten",
        allowable_values=["flatten", "refuse"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    VALUE_SEPARATOR = PropertyDescriptor(
        name="Value Separator",
        description="""What stands between the values of an attribute that has several. Without a value an attribute is one
            value.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    FIELD_OPERATIONS = PropertyDescriptor(
        name="Field Operations",
        description="""What Operation update does with fields, as JSON: {"count": "inc", "labels": "add-distinct"}. set, add,
            add-distinct, remove, removeregex or inc; all others are set, and removed where the record has null. A record may
            say it itself: {"count": {"inc": 1}}.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    DOCUMENT_VERSION = PropertyDescriptor(
        name="Document Version",
        description="""What has to be in the index already. overwrite: whatever there is. insert only: no document of this id.
            update only: one of this id. of the record: what the record's _version_ says to Solr. What is otherwise there
            leaves on conflict.""",
        required=True,
        default_value="overwrite",
        allowable_values=["overwrite", "insert only", "update only", "of the record"],
        dependencies=[PropertyDependency(RECORD_SOURCE, "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    UPDATE_PATH = PropertyDescriptor(
        name="Solr Update Path",
        description="Path of the handler that takes updates, below the collection.",
        required=True,
        default_value="/update",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "image record", "attributes", "content")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    CONTENT_STREAM_PATH = PropertyDescriptor(
        name="Content Stream Path",
        description="""Path below the collection that the content is posted to: /update for commands in JSON, XML or CSV,
            /update/json/docs for documents of any form.""",
        required=True,
        default_value="/update/json/docs",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "commands")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    CONTENT_TYPE = PropertyDescriptor(
        name="Content-Type",
        description="What the content is, as Solr is told.",
        required=True,
        default_value="application/json",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[PropertyDependency(RECORD_SOURCE, "commands")],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    COMMIT_WITHIN = PropertyDescriptor(
        name="Commit Within",
        description="""Milliseconds within which searches find the documents. Without a value the collection's own settings
            decide.""",
        required=False,
        default_value="5000",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    HARD_COMMIT = PropertyDescriptor(
        name="Hard Commit",
        description="""true: a commit follows each FlowFile, so that searches find its documents at once. Dear: for few and
            large FlowFiles. What Solr has answered for is safe without it.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    BATCH_SIZE = PropertyDescriptor(
        name="Batch Size",
        description="Documents that travel to Solr together, 1 to 100000, and 8 MB at most.",
        required=False,
        default_value="500",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    SOCKET_TIMEOUT = PropertyDescriptor(
        name="Solr Socket Timeout",
        description="How long Solr may take to answer. 0 sec: for ever.",
        required=True,
        default_value="10 seconds",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CONNECTION_TIMEOUT = PropertyDescriptor(
        name="Solr Connection Timeout",
        description="How long a connection to Solr, or to ZooKeeper, may take. 0 sec: for ever.",
        required=True,
        default_value="10 seconds",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CONNECTIONS = PropertyDescriptor(
        name="Solr Maximum Connections Per Host",
        description="Connections to one node at once; further tasks wait for one.",
        required=True,
        default_value="5",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    USERNAME = PropertyDescriptor(
        name="Basic Username",
        description="Who to log in as, where Solr wants a login.",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PASSWORD = PropertyDescriptor(
        name="Basic Password",
        description="The password of Basic Username.",
        required=False,
        sensitive=True,
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    KERBEROS = PropertyDescriptor(
        name="Kerberos",
        description="""true: log in with the ticket of NiFi's process (KRB5CCNAME). Needs the Python package requests-kerberos,
            which is not part of the bundle.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CA_FILE = PropertyDescriptor(
        name="Trusted Certificates",
        description="""PEM file of the certificates that Solr's own is signed with, for https. Without a value: the public
            authorities.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CLIENT_CERTIFICATE = PropertyDescriptor(
        name="Client Certificate",
        description="PEM file of the certificate that Solr knows NiFi by, perhaps with its key.",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CLIENT_KEY = PropertyDescriptor(
        name="Client Key",
        description="PEM file of its key, without a password, where the certificate's file does not have it.",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(name="success", description="Solr has taken every document")
    BAD_DOCUMENTS = Relationship(
        name="bad documents",
        description="""Some records of a content were refused for good; all others are in the index. The content is one JSON
            object a line for each refused one: row, error_code, error_detail, record""",
    )
    CONFLICT = Relationship(
        name="conflict",
        description="""Documents that Document Version or _version_ keeps out, and nothing else is wrong. Of a content the
            others are in the index, and what leaves is the report of bad documents""",
    )
    RETRY = Relationship(
        name="retry",
        description="""Solr does not answer, or not before an operator has mended something: loop it back. Of a content only the
            records that are not in the index are left""",
    )
    SWITCHED_OFF = Relationship(name="switched off", description="No address is set; nothing was indexed")

    def __init__(self, **kwargs):
        super().__init__()
        self.names = frozenset(p.name for p in self.getPropertyDescriptors())
        self.documents = adapter.BuiltOnce(self._open, close=lambda opened: opened is not None and opened.close())

    def getPropertyDescriptors(self):
        return [
            self.SOLR_URL, self.SOLR_TYPE, self.SOLR_LOCATION, self.COLLECTION, self.RECORD_SOURCE, self.PACKAGES,
            self.RECORD_FORMAT, self.OPERATION, self.ID_FIELD, self.FIELDS_TO_INDEX, self.FIELD_MAPPING, self.DATE_FIELDS,
            self.INTEGER_TIMESTAMPS, self.NESTED_OBJECTS, self.VALUE_SEPARATOR, self.FIELD_OPERATIONS, self.DOCUMENT_VERSION,
            self.UPDATE_PATH, self.CONTENT_STREAM_PATH, self.CONTENT_TYPE, self.COMMIT_WITHIN, self.HARD_COMMIT,
            self.BATCH_SIZE, self.SOCKET_TIMEOUT, self.CONNECTION_TIMEOUT, self.CONNECTIONS, self.USERNAME, self.PASSWORD,
            self.KERBEROS, self.CA_FILE, self.CLIENT_CERTIFICATE, self.CLIENT_KEY,
        ]  # fmt: skip

    def getDynamicPropertyDescriptor(self, propertyname):
        return PropertyDescriptor(
            name=propertyname,
            description="A parameter of the request to Solr; name.1, name.2 for one that is there several times.",
            required=False,
            dynamic=True,
            validators=[StandardValidators.ALWAYS_VALID],
            expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
        )

    def getRelationships(self):
        return [self.SUCCESS, self.BAD_DOCUMENTS, self.CONFLICT, self.RETRY, self.SWITCHED_OFF]

    def customValidate(self, context):
        try:
            options.check(context, self.names)
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        if self.documents.renew(context) is None:
            # Off is how it is shipped, so nobody has to be warned of it.
            adapter.log.info("PutSolrDocument: Solr URL is empty, the search index is switched off")

    def onStopped(self, context):
        self.documents.release()

    def transform(self, context, flowFile):
        try:
            opened = self.documents.get(context)
            if opened is None:
                return FlowFileTransformResult(relationship="switched off")
            if opened.images is not None:
                step = IndexDocuments(opened.images)
                return codec.transform(context, flowFile, step, FlowFileTransformResult)
            result = _delivered(opened.deliver(context, flowFile))
        except WarehouseError as err:
            adapter.log.warning("PutSolrDocument: %s: %s", codec.requests_in(flowFile.getAttribute), err)
            if err.retryable:
                return FlowFileTransformResult(relationship="retry")
            way = "conflict" if isinstance(err, SolrConflict) else "failure"
            result = FlowFileTransformResult(relationship=way, attributes=adapter.failed(err))
        return bridge.send_attributes_together(result, flowFile)

    def _open(self, context):
        return options.open_solr(context, self.names)


def _delivered(delivery: Delivery):
    if delivery.later is not None:
        adapter.log.warning("PutSolrDocument: %s", delivery.summary)
        return FlowFileTransformResult(relationship="retry", contents=delivery.rest)
    attributes = {"record.count": str(delivery.written)}
    if not delivery.bad:
        return FlowFileTransformResult(relationship="success", attributes=attributes)
    adapter.log.warning("PutSolrDocument: %s", delivery.summary)
    attributes |= adapter.failed(delivery.bad[0].error)
    attributes |= {"bad.count": str(len(delivery.bad)), "mime.type": "application/x-ndjson"}
    way = "conflict" if delivery.only_conflicts else "bad documents"
    return FlowFileTransformResult(relationship=way, attributes=attributes, contents=delivery.report())
