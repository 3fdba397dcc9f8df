from nifiapi.documentation import ProcessorConfiguration, multi_processor_use_case, use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse.access import AccessKeys
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.forms import parse_field_names
from imagewarehouse.images.decoding import wanted_pixels
from imagewarehouse.intake import IntakeRules, parse_media_types
from imagewarehouse.limits import Limits
from imagewarehouse.nifi import adapter, codec
from imagewarehouse.nifi.precedence import GIVE_WAY_S, LONGEST_S, Precedence
from imagewarehouse.objects.fetching import Fetcher, parse_locations
from imagewarehouse.steps.filtering import FilterRequests


@use_case(
    description="Let only real images into a flow",
    notes="""Works behind any source of FlowFiles. Behind ListenHTTP, pass the headers Content-Type, Content-Disposition,
        Idempotency-Key, X-Access-Key, X-Form-Content-Type and X-Forwarded-For on as attributes.""",
    keywords=["image", "validation", "filter", "polyglot", "decompression bomb"],
    configuration="The defaults accept JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF up to 20 MB and 50 million pixels.",
)
@multi_processor_use_case(
    description="Answer each HTTP request with the reason for its rejection",
    keywords=["http", "rest", "problem details"],
    configurations=[
        ProcessorConfiguration(
            processor_type="HandleHttpRequest", configuration="Connect its success relationship to FilterImageRequest."
        ),
        ProcessorConfiguration(
            processor_type="PutKuduRecord",
            configuration="Takes both relationships at last; it writes the row and makes the answer the content.",
        ),
        ProcessorConfiguration(
            processor_type="HandleHttpResponse", configuration="Set HTTP Status Code to ${http.response.status}."
        ),
    ],
)
class FilterImageRequest(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "0.1.0"
        tags = ["image", "filter", "validation", "http", "security", "image warehouse"]
        description = """Accepts an image request or rejects it with a stable code: access key, size, declared type, signature,
            structure and a full decode are checked, and have to agree. Gives every request its id and time, and leaves the
            facts it found as attributes, so that later steps need not read the content again. A JSON body with a base64
            image, or with the URI of one, is replaced by the image, and so is a form (multipart/form-data) by its files."""

    MAX_SIZE = PropertyDescriptor(
        name="Maximum Size",
        description="""Largest image file. NiFi and Python hold a copy each while it is checked, about five during the
            transfer. Base64 in JSON may be a third longer.""",
        required=True,
        default_value="20 MB",
        validators=[StandardValidators.DATA_SIZE_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    MAX_PIXELS = PropertyDescriptor(
        name="Maximum Pixels",
        description="Largest width times height, of every format. Maximum Memory may be reached first.",
        required=True,
        default_value="50000000",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    MAX_MEMORY = PropertyDescriptor(
        name="Maximum Memory",
        description="""Most memory that decoding one image may take, judged by its header. Formats differ: a pixel takes 5 bytes
            as PNG, 10 to 26 as HEIC, 19 as WebP, 22 as JPEG 2000. Each task decodes one image at a time.""",
        required=True,
        default_value="512 MB",
        validators=[StandardValidators.DATA_SIZE_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    MAX_FRAMES = PropertyDescriptor(
        name="Maximum Frames",
        description="Most frames or pages of an animation or a document. Only the first is classified; 1 refuses all others.",
        required=True,
        default_value="500",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ACCEPTED_TYPES = PropertyDescriptor(
        name="Accepted Types",
        description="Media types that may be declared, separated by commas. The content has to be of the declared type.",
        required=True,
        default_value="image/jpeg, image/png, image/webp, image/gif, image/bmp, image/tiff, image/avif, image/heic, image/jp2",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ALLOW_TRAILING_DATA = PropertyDescriptor(
        name="Allow Trailing Data",
        description="""Accept bytes behind the end of the picture. Some phones append a second picture or a film there; so
            do files that are an image to one program and a script or an archive to another.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ALLOWED_URIS = PropertyDescriptor(
        name="Allowed Image URIs",
        description="""Prefixes such as s3://bucket/incoming/, separated by commas, inside which a JSON body may name an
            image_uri. Each names a bucket or a folder, with options where the store needs them; clients write the URI
            without options. Links inside a folder are not followed. Empty: image_uri is switched off.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ACCESS_KEYS = PropertyDescriptor(
        name="Access Keys",
        description="""Pairs name:key separated by commas; keys have at least 16 characters. A client sends its key as
            X-Access-Key or as Authorization: Bearer, and the name becomes source_user. A key may send, unless its name has
            other scopes: name/read:key may read everybody's images, name/read+send:key both, name/admin:key everything.
            Empty: everybody may POST.""",
        required=False,
        sensitive=True,
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    MAX_FORM = PropertyDescriptor(
        name="Maximum Form Size",
        description="""Largest form (multipart/form-data) that comes whole, with all its files. NiFi's listeners take forms
            apart, unless a front sends them as application/vnd.imagewarehouse.form with their type in X-Form-Content-Type.""",
        required=True,
        default_value="32 MB",
        validators=[StandardValidators.DATA_SIZE_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    KEEP_FIELDS = PropertyDescriptor(
        name="Keep Fields",
        description="""Names of text fields of a form, separated by commas, at most 16. What clients write there, up to 500
            characters of each, is recorded with every file of the form, in the column fields. Empty: none.""",
        required=False,
        default_value="",
        validators=[StandardValidators.ALWAYS_VALID],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    PACKAGES = PropertyDescriptor(
        name="FlowFile Packages",
        description="""true: every FlowFile is a package of images (FlowFile stream v3), as PackageFlowFile makes them, and
            stays one; the record of each image is in the attribute package.records. false: every FlowFile is one image, and a
            form of several files is rejected.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    GIVE_WAY = PropertyDescriptor(
        name="Give Way",
        description="""While clients wait for answers, a package of images that nobody waits for goes on this long after the one
            before, so that clients go first. Clients count as waiting for a quarter of a second after one of their packages.
            With FlowFile Packages only; at most 10 sec. 0 sec: all packages are alike.""",
        required=True,
        default_value="500 ms",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )

    SUCCESS = Relationship(name="success", description="Images, decoded once and found whole")
    REJECTED = Relationship(
        name="rejected",
        description="""Requests that will never pass, and those that our side failed on (status failed); error_code and
            error_detail say why""",
    )

    def __init__(self, **kwargs):
        super().__init__()
        self.step = adapter.BuiltOnce(self._open, close=FilterRequests.close)
        self.precedence = adapter.BuiltOnce(self._precedence)

    def getPropertyDescriptors(self):
        return [
            self.MAX_SIZE,
            self.MAX_PIXELS,
            self.MAX_MEMORY,
            self.MAX_FRAMES,
            self.ACCEPTED_TYPES,
            self.ALLOW_TRAILING_DATA,
            self.ALLOWED_URIS,
            self.ACCESS_KEYS,
            self.MAX_FORM,
            self.KEEP_FIELDS,
            self.PACKAGES,
            self.GIVE_WAY,
        ]

    def getRelationships(self):
        return [self.SUCCESS, self.REJECTED]

    def customValidate(self, context):
        try:
            self._open(context)
            self._precedence(context)
        except ConfigurationError as err:
            return [ValidationResult(subject=err.setting, explanation=err.problem, valid=False)]
        return []

    def onScheduled(self, context):
        self.step.renew(context)
        self.precedence.renew(context)

    def transform(self, context, flowFile):
        step = self.step.get(context)
        most = max(2 * step.rules.limits.max_bytes, step.rules.max_form + codec.AROUND)
        return codec.submit(
            context,
            flowFile,
            step,
            FlowFileTransformResult,
            most=most,
            spec=wanted_pixels(),
            precedence=self.precedence.get(context),
        )

    def _precedence(self, context):
        seconds = adapter.seconds(context, "Give Way", GIVE_WAY_S)
        if seconds > LONGEST_S:
            raise ConfigurationError("Give Way", f"expected at most {LONGEST_S:.0f} sec, received {seconds:g} sec")
        return Precedence(seconds)

    def _open(self, context):
        rules = IntakeRules(
            limits=Limits(
                max_bytes=adapter.data_size(context, "Maximum Size", Limits().max_bytes),
                max_pixels=adapter.integer(context, "Maximum Pixels", Limits().max_pixels),
                max_memory=adapter.data_size(context, "Maximum Memory", Limits().max_memory),
                max_frames=adapter.integer(context, "Maximum Frames", Limits().max_frames),
                allow_trailing_data=adapter.boolean(context, "Allow Trailing Data"),
            ),
            keys=AccessKeys.parse(adapter.text(context, "Access Keys")),
            media_types=parse_media_types(adapter.text(context, "Accepted Types")),
            max_form=adapter.data_size(context, "Maximum Form Size", IntakeRules().max_form),
            keep_fields=parse_field_names(adapter.text(context, "Keep Fields")),
        )
        locations = parse_locations(adapter.text(context, "Allowed Image URIs"))
        return FilterRequests(rules, Fetcher(locations, rules.limits) if locations else None)
