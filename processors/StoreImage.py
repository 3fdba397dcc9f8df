from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.nifi import adapter, codec
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
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
        description = """Stores the content under its sha256 and records where as storage_uri. The same image is stored once;
            a temporary name and a rename keep readers from half-written ones."""

    STORE_URI = PropertyDescriptor(
        name="Store URI",
        description="""Where images go: file:///folder, or any URI that Apache Arrow's file systems know. A value without a
            scheme is a folder, relative to NiFi's working directory. A login and options in it (s3://bucket/images?region=...)
            stay here: storage_uri has neither.""",
        required=True,
        default_value="./image-warehouse/objects",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
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
        return [self.STORE_URI, self.PACKAGES]

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

    def transform(self, context, flowFile):
        return codec.transform(context, flowFile, self.step.get(context), FlowFileTransformResult)

    def _open(self, context):
        return StoreImages(ImageStore(open_store(Location.parse(adapter.text(context, "Store URI")))))
