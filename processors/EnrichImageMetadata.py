from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse.errors import ConfigurationError, ImageRejected, NotAnImage
from imagewarehouse.images.decoding import check_image, gps_position
from imagewarehouse.images.formats import sniff
from imagewarehouse.limits import Limits
from imagewarehouse.nifi import adapter, batches
from imagewarehouse.nifi.listeners import certificate_subject, parse_networks, source_ip


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
        description="""true: every FlowFile is a package of many (FlowFile stream v3), as PackageFlowFile makes them, and stays
            one; what is found of each of them goes into the attribute package.records. false: every FlowFile is one
            image.""",
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
        self.settings = adapter.BuiltOnce(self._read_settings)

    def getPropertyDescriptors(self):
        return [self.TRUSTED_PROXIES, self.KEEP_GPS, self.PACKAGES]

    def getRelationships(self):
        return [self.SUCCESS, self.REJECTED]

    def customValidate(self, context):
        try:
            self._read_settings(context)
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        self.settings.renew(context)

    def transform(self, context, flowFile):
        trusted, keep_gps = self.settings.get(context)
        return batches.transform(
            context,
            flowFile,
            lambda images: [_enrich(image, trusted, keep_gps) for image in images],
            FlowFileTransformResult,
            everyone=True,
        )

    def _read_settings(self, context):
        return parse_networks(adapter.text(context, "Trusted Proxies")), adapter.boolean(context, "Keep GPS")


def _enrich(image, trusted, keep_gps):
    get = image.getAttribute
    attributes = {"source_ip": source_ip(get, trusted) or ""}
    # A position that is there already was chosen by a sender of FlowFile packages.
    attributes |= {name: "" for name in ("gps_latitude", "gps_longitude") if get(name)}
    if not get("source_user"):
        attributes["source_user"] = certificate_subject(get) or ""
    if batches.has_ended(image):
        return FlowFileTransformResult(relationship="rejected", attributes=attributes)
    try:
        image_format = get("format")
        if keep_gps or not image_format:
            content = adapter.read_content(image)
            if not image_format:
                found = sniff(content)
                if found is None:
                    raise NotAnImage("the content is not an image of a known format")
                facts = check_image(content, found, Limits())
                image_format = facts.format
                attributes |= {
                    "format": facts.format,
                    "size_bytes": str(len(content)),
                    "width": str(facts.width),
                    "height": str(facts.height),
                    "color_mode": facts.color_mode,
                    "frames": str(facts.frames),
                }
            position = gps_position(content, image_format) if keep_gps else None
            if position:
                attributes |= {"gps_latitude": str(position[0]), "gps_longitude": str(position[1])}
    except ImageRejected as err:
        adapter.log.warning("EnrichImageMetadata: request %s: %s", get("request_id"), err)
        return FlowFileTransformResult(relationship="failure", attributes=attributes | adapter.failed(err))
    return FlowFileTransformResult(relationship="success", attributes=attributes)
