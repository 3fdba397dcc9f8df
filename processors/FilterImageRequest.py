from nifiapi.documentation import ProcessorConfiguration, multi_processor_use_case, use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from imagewarehouse.access import AccessKeys
from imagewarehouse.errors import ConfigurationError, ImageRejected, Unavailable, WarehouseError
from imagewarehouse.ids import event_time, new_request_id, request_id_from_key
from imagewarehouse.intake import (
    IntakeRules,
    check_access,
    check_content,
    check_request,
    clean_file_name,
    parse_media_types,
)
from imagewarehouse.limits import Limits
from imagewarehouse.metadata import COLUMNS, to_text
from imagewarehouse.nifi import adapter, batches
from imagewarehouse.nifi.listeners import read_request
from imagewarehouse.objects.fetching import Fetcher, parse_locations


@use_case(
    description="Let only real images into a flow",
    notes="""Works behind any source of FlowFiles. Behind ListenHTTP, pass the headers Content-Type, Content-Disposition,
        Idempotency-Key, X-Access-Key and X-Forwarded-For on as attributes.""",
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
            image, or with the URI of one, is replaced by the image."""

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
        description="""Largest width times height. A decoder holds 4 bytes a pixel; WebP's holds 16 and AVIF's 10, so these
            may have a quarter and two fifths of it.""",
        required=True,
        default_value="50000000",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    MAX_FRAMES = PropertyDescriptor(
        name="Maximum Frames",
        description="Most frames or pages of an animation or a document. Only the first is classified; 1 refuses all others.",
        required=True,
        default_value="100",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        expression_language_scope=ExpressionLanguageScope.NONE,
    )
    ACCEPTED_TYPES = PropertyDescriptor(
        name="Accepted Types",
        description="Media types that may be declared, separated by commas. The content has to be of the declared type.",
        required=True,
        default_value="image/jpeg, image/png, image/webp, image/gif, image/bmp, image/tiff, image/avif",
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
            X-Access-Key or as Authorization: Bearer, and the name becomes source_user. Empty: everybody may POST.""",
        required=False,
        sensitive=True,
        validators=[StandardValidators.ALWAYS_VALID],
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

    SUCCESS = Relationship(name="success", description="Images, decoded once and found whole")
    REJECTED = Relationship(
        name="rejected",
        description="""Requests that will never pass, and those that our side failed on (status failed); error_code and
            error_detail say why""",
    )

    def __init__(self, **kwargs):
        super().__init__()
        self.settings = adapter.BuiltOnce(self._read_settings, close=_close)

    def getPropertyDescriptors(self):
        return [
            self.MAX_SIZE,
            self.MAX_PIXELS,
            self.MAX_FRAMES,
            self.ACCEPTED_TYPES,
            self.ALLOW_TRAILING_DATA,
            self.ALLOWED_URIS,
            self.ACCESS_KEYS,
            self.PACKAGES,
        ]

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
        rules, fetcher = self.settings.get(context)
        return batches.transform(
            context,
            flowFile,
            lambda requests: self._check_all(requests, rules, fetcher),
            FlowFileTransformResult,
            first=True,
            everyone=True,
            most=2 * rules.limits.max_bytes,
        )

    def _read_settings(self, context):
        rules = IntakeRules(
            limits=Limits(
                max_bytes=adapter.data_size(context, "Maximum Size", Limits().max_bytes),
                max_pixels=adapter.integer(context, "Maximum Pixels", Limits().max_pixels),
                max_frames=adapter.integer(context, "Maximum Frames", Limits().max_frames),
                allow_trailing_data=adapter.boolean(context, "Allow Trailing Data"),
            ),
            keys=AccessKeys.parse(adapter.text(context, "Access Keys")),
            media_types=parse_media_types(adapter.text(context, "Accepted Types")),
        )
        locations = parse_locations(adapter.text(context, "Allowed Image URIs"))
        return rules, Fetcher(locations, rules.limits) if locations else None

    def _check_all(self, requests, rules, fetcher):
        if fetcher is None:
            return [_check(request, rules, None) for request in requests]
        return fetcher.for_each(lambda request, fetch: _check(request, rules, fetch), requests)


def _close(settings):
    _, fetcher = settings
    if fetcher is not None:
        fetcher.close()


def _check(flow_file, rules, fetch):
    # First of all: whatever happens to the request, its row, its answer and the log lines about it name this id.
    now = adapter.now()
    # What a request does not have is set all the same: a sender of FlowFile packages chooses attributes, but not
    # who it is.
    attributes = {"source_user": "", "size_bytes": "", "declared_type": "", "file_name": ""}
    attributes |= _identity(new_request_id(now))
    try:
        return _judge(flow_file, rules, fetch, now, attributes)
    except ImageRejected as err:
        attributes |= {"status": "rejected", "error_code": err.code, "error_detail": str(err)}
        return FlowFileTransformResult(relationship="rejected", attributes=attributes)
    except Unavailable as err:  # a store that an image_uri leads to
        adapter.log.warning("FilterImageRequest: request %s: %s", attributes["request_id"], err)
        failure = err
    except Exception:  # noqa: BLE001 - a defect of ours is answered at once, and recorded, too
        adapter.log.exception("FilterImageRequest: request %s", attributes["request_id"])
        failure = WarehouseError("an unexpected error, see the log")
    nothing = {column.name: "" for column in COLUMNS}  # a failed record may have any of them
    return FlowFileTransformResult(relationship="rejected", attributes=nothing | attributes | adapter.failed(failure))


def _judge(flow_file, rules, fetch, now, attributes):
    """The result of an accepted request. What is known of it goes into `attributes` as soon as it is known."""
    request, blank = read_request(
        flow_file.getAttribute,
        flow_file.getSize(),
        keys_wanted=bool(rules.keys.digests),
        all_attributes=flow_file.getAttributes,
    )
    attributes |= blank
    attributes |= {
        "size_bytes": str(request.size),
        "declared_type": (request.declared_type or "")[:255],
        "file_name": clean_file_name(request.file_name) or "",
    }
    attributes["source_user"] = check_access(request, rules) or ""
    if request.idempotency_key:  # not before the access check: it names the row that will be overwritten
        attributes |= _identity(request_id_from_key(request.idempotency_key, now, request.part or 1))
    check_request(request, rules)
    content = adapter.read_content(flow_file)
    accepted = check_content(request, content, rules, fetch=fetch)
    attributes |= {
        "status": "accepted",
        "image_id": accepted.image_id,
        "declared_type": accepted.declared_type,
        "format": accepted.facts.format,
        "size_bytes": str(len(accepted.image)),
        "width": str(accepted.facts.width),
        "height": str(accepted.facts.height),
        "color_mode": accepted.facts.color_mode,
        "frames": str(accepted.facts.frames),
    }
    if accepted.file_name:
        attributes["file_name"] = accepted.file_name
    return FlowFileTransformResult(
        relationship="success", attributes=attributes, contents=accepted.image if accepted.unwrapped else None
    )


def _identity(request_id):
    return {"request_id": request_id, "event_time": to_text(event_time(request_id))}
