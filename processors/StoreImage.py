from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.nifi import adapter, codec, store_options
from imagewarehouse.steps.storing import StoreImages


@use_case(
    description="Keep every distinct image once, on any object store",
    notes="The key is the sha256 of the bytes, so storing again after a failure changes nothing.",
    keywords=["image", "object store", "s3", "hdfs", "deduplication", "content-addressed"],
    configuration="Set Store URI to a folder (file:///data/images) or a bucket prefix (s3://bucket/images).",
)
class StoreImage(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = ["image", "store", "object", "s3", "hdfs", "file", "image warehouse"]
        description = """Stores the content under its sha256 and records where as storage_uri. The same image is stored once,
            what is there is never overwritten by other bytes, and nobody reads a half-written one."""

    STORE_URI = PropertyDescriptor(
        name="Store URI",
        description="""Where images go: file:///folder, s3://bucket/images, webhdfs://namenode:9870/images,
            hbase://thrift:9090/table, or another URI that Apache Arrow's file systems know. A value without a scheme is a
            folder, relative to NiFi's working directory. A login and options in it (s3://bucket/images?region=...) stay here:
            storage_uri has neither.""",
        required=True,
        default_value="./image-warehouse/objects",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ENDPOINT = PropertyDescriptor(
        name="Store Endpoint",
        description="""URL of an S3 or Azure store that is not Amazon's or Microsoft's, such as https://host:9000.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    REGION = PropertyDescriptor(
        name="Store Region",
        description="""Region of the bucket. Without a value that of the environment, else Amazon is asked.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PATH_STYLE = PropertyDescriptor(
        name="Store Path Style",
        description="""S3: true puts the bucket into the path of a request, as every store takes it; false into
            the host name.""",
        required=True,
        default_value="true",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ACCESS_KEY = PropertyDescriptor(
        name="Store Access Key",
        description="""S3: access key id. Azure: name of the account. Without a value the platform's own chain is used:
            environment, credentials file, role of the machine.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    SECRET_KEY = PropertyDescriptor(
        name="Store Secret Key",
        description="""S3: secret access key. Azure: key of the account.""",
        required=False,
        sensitive=True,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    SESSION_TOKEN = PropertyDescriptor(
        name="Store Session Token",
        description="""S3: token of temporary credentials. HDFS over HTTP: a delegation token.""",
        required=False,
        sensitive=True,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CA_FILE = PropertyDescriptor(
        name="Store CA File",
        description="""PEM file with the authorities that sign the store's certificate, beside those of the system.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    CONNECT_TIMEOUT = PropertyDescriptor(
        name="Store Connect Timeout",
        description="""How long a connection to the store may take.""",
        required=True,
        default_value="3 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    READ_TIMEOUT = PropertyDescriptor(
        name="Store Read Timeout",
        description="""How long the store may be silent.""",
        required=True,
        default_value="5 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PACK = PropertyDescriptor(
        name="Store Pack",
        description="""true: images below 1 MB of one package are kept in one object, a tar file, and storage_uri says which
            bytes of it are the image. For many small images. false: every image is an object.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PACKAGES = PropertyDescriptor(
        name="FlowFile Packages",
        description="""true: every FlowFile is a package of images (FlowFile stream v3), as PackageFlowFile makes them, and
            stays one; the record of each image is in the attribute package.records. false: every FlowFile is one image.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(name="success", description="Stored images; storage_uri says where")
    RETRY = Relationship(
        name="retry", description="The store did not take the image and nobody waits for an answer: loop it back"
    )
    REFUSED = Relationship(
        name="refused",
        description="""The store did not take the image and a client waits: try it again for as long as the client may wait,
            then let it go on. Its record says failed. Of a package the other images are stored""",
    )

    def __init__(self, **kwargs):
        super().__init__()
        self.step = adapter.BuiltOnce(self._open, StoreImages.close)

    def getPropertyDescriptors(self):
        return [
            self.STORE_URI,
            self.ENDPOINT,
            self.REGION,
            self.PATH_STYLE,
            self.ACCESS_KEY,
            self.SECRET_KEY,
            self.SESSION_TOKEN,
            self.CA_FILE,
            self.CONNECT_TIMEOUT,
            self.READ_TIMEOUT,
            self.PACK,
            self.PACKAGES,
        ]

    def getRelationships(self):
        return [self.SUCCESS, self.RETRY, self.REFUSED]

    def customValidate(self, context):
        try:
            self._open(context).close()
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        self.step.renew(context).store.check_writable()

    def onStopped(self, context):
        self.step.release()

    def transform(self, context, flowFile):
        return codec.transform(context, flowFile, self.step.get(context), FlowFileTransformResult)

    def _open(self, context):
        return StoreImages(store_options.open_images(context), pack=adapter.boolean(context, "Store Pack"))
