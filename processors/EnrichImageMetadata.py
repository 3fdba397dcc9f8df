from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse.addresses import parse_networks
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.nifi import adapter, codec
from imagewarehouse.steps.enriching import EnrichMetadata


@use_case(
    description="Record where an image came from and what it is",
    notes="""Behind FilterImageRequest the content is not read again. Without one before it, the image is read and decoded
        here to find format, size and colour mode.""",
    keywords=["image", "metadata", "provenance", "x-forwarded-for", "gps"],
    configuration="Set Trusted Proxies when a load balancer stands in front of the listener.",
)
class EnrichImageMetadata(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = ["image", "metadata", "enrich", "exif", "image warehouse"]
        description = """Records the client's address and user, and the image's own facts where FilterImageRequest has not left
            them. Rejected requests get their origin too and leave on a relationship of their own. A place the picture was
            taken at (GPS) is left out unless asked for."""

    TRUSTED_PROXIES = PropertyDescriptor(
        name="Trusted Proxies",
        description="""Addresses or networks such as 10.0.0.0/8, separated by commas, whose X-Forwarded-For is believed.
            Empty: the address of the peer is the source.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    KEEP_GPS = PropertyDescriptor(
        name="Keep GPS",
        description="""Record the position in the image's EXIF block as gps_latitude and gps_longitude. It is personal data;
            reading it costs one more read of the content.""",
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

    SUCCESS = Relationship(name="success", description="Images with their origin and facts as attributes")
    REJECTED = Relationship(
        name="rejected", description="Requests that came with status rejected or failed, their origin added"
    )

    def __init__(self, **kwargs):
        super().__init__()
        self.step = adapter.BuiltOnce(self._open)

    def getPropertyDescriptors(self):
        return [self.TRUSTED_PROXIES, self.KEEP_GPS, self.PACKAGES]

    def getRelationships(self):
        return [self.SUCCESS, self.REJECTED]

    def customValidate(self, context):
        try:
            self._open(context)
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        self.step.renew(context)

    def transform(self, context, flowFile):
        return codec.transform(context, flowFile, self.step.get(context), FlowFileTransformResult)

    def _open(self, context):
        trusted = parse_networks(adapter.text(context, "Trusted Proxies"))
        return EnrichMetadata(trusted, keep_gps=adapter.boolean(context, "Keep GPS"))
