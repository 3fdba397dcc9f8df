"""Builds the flow definitions that NiFi imports: image-warehouse.json, and image-warehouse-tls.json with HTTPS listeners.

    python -m imagewarehouse.flows.build            write the files
    python -m imagewarehouse.flows.build --check    exit 1 when one is not what would be written

The same input gives the same bytes: identifiers are derived from names, so a renamed component is a new one to a NiFi
that replaces an older version of the flow, and everything else about it may change freely. What NiFi has to know of a
component's properties comes from the processor classes themselves; for NiFi's own components there is a table below.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from imagewarehouse import resources
from imagewarehouse.nifi.processors import processor_class, processor_names

FLOW_FILE, TLS_FLOW_FILE = resources.FLOW, resources.TLS_FLOW
PARAMETER_CONTEXT = "image-warehouse"

_NIFI = "2.9.0"
_NAMESPACE = uuid.UUID("5f0e4a8e-6a1b-5c0d-9b57-2d7c1f6f3a10")  # any constant; a new one would make every component new

# --- what NiFi knows about each type of component ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    default: str | None = None
    required: bool = False
    allowed: tuple[str, ...] = ()
    sensitive: bool = False
    service: bool = False  # its value is the identifier of a controller service
    needs: tuple[str, ...] = ()  # properties that have to be set before this one counts
    definition: Mapping[str, Any] | None = None  # what a descriptor says beyond the above, as NiFi writes it


@dataclass(frozen=True, slots=True)
class ComponentType:
    """A type of processor or controller service."""

    type: str
    bundle: tuple[str, str, str]
    properties: Mapping[str, Property]
    relationships: frozenset[str] = frozenset()
    dynamic: bool = False  # takes properties of any name
    routes: bool = False  # each of those is a relationship as well
    takes_input: bool = True
    apis: tuple[str, ...] = ()  # what a controller service can be used as

    @property
    def short(self) -> str:
        return self.type.rpartition(".")[2]


def _resources(*kinds: str) -> Mapping[str, Any]:
    return {"resourceDefinition": {"cardinality": "SINGLE", "resourceTypes": sorted(kinds)}}


_LISTENS = {"listenPortDefinition": {"applicationProtocols": ["http/1.1", "h2"], "transportProtocol": "TCP"}}
_TRUE_FALSE = ("true", "false")
_HTTP_PROTOCOLS = ("HTTP_1_1", "H2_HTTP_1_1", "H2")
_PACKAGINGS = ("use mime.type attribute", "tar", "zip", "flowfile-stream-v3", "flowfile-stream-v2", "flowfile-tar-v1")


def _java(
    type_name: str, artifact: str, properties: Iterable[Property], relationships: Iterable[str] = (), **more: Any
) -> ComponentType:
    return ComponentType(
        type_name, ("org.apache.nifi", artifact, _NIFI), {p.name: p for p in properties}, frozenset(relationships), **more
    )  # fmt: skip


# The components of NiFi that the flow uses, with every property that NiFi 2.9 gives them and its default.
_JAVA_TYPES = (
    _java(
        "org.apache.nifi.processors.standard.ListenHTTP",
        "nifi-standard-nar",
        (
            Property("Base Path", "contentListener", required=True),
            Property("Listening Port", required=True, definition=_LISTENS),
            Property("Listening Port for Health Check Requests", definition=_LISTENS),
            Property("SSL Context Service", service=True),
            Property("HTTP Protocols", "HTTP_1_1", True, _HTTP_PROTOCOLS, needs=("SSL Context Service",)),
            Property("Client Authentication", "AUTO", allowed=("AUTO", "WANT", "REQUIRED", "NONE"),
                     needs=("SSL Context Service",)),
            Property("Authorized Subject DN Pattern", ".*", required=True),
            Property("Authorized Issuer DN Pattern", ".*"),
            Property("Max Unconfirmed Flowfile Time", "60 secs", required=True),
            Property("HTTP Headers for Attributes"),
            Property("Request Header Maximum Size", "8 KB", required=True),
            Property("Return Code", "200"),
            Property("Multipart Request Max Size", "1 MB", required=True),
            Property("Multipart Read Buffer Size", "512 KB", required=True),
            Property("Maximum Thread Pool Size", "200", required=True),
            Property("Record Reader", service=True),
            Property("Record Writer", required=True, service=True, needs=("Record Reader",)),
        ),
        ["success"],
        takes_input=False,
    ),
    _java(
        "org.apache.nifi.processors.standard.HandleHttpRequest",
        "nifi-standard-nar",
        (
            Property("Listening Port", "80", required=True, definition=_LISTENS),
            Property("Hostname"),
            Property("SSL Context Service", service=True),
            Property("HTTP Protocols", "HTTP_1_1", True, _HTTP_PROTOCOLS, needs=("SSL Context Service",)),
            Property("HTTP Context Map", required=True, service=True),
            Property("Allowed Paths"),
            Property("Default URL Character Set", "UTF-8", required=True),
            Property("Allow GET", "true", True, _TRUE_FALSE),
            Property("Allow POST", "true", True, _TRUE_FALSE),
            Property("Allow PUT", "true", True, _TRUE_FALSE),
            Property("Allow DELETE", "true", True, _TRUE_FALSE),
            Property("Allow HEAD", "false", True, _TRUE_FALSE),
            Property("Allow OPTIONS", "false", True, _TRUE_FALSE),
            Property("Maximum Threads", "200", required=True),
            Property("Request Header Maximum Size", "8 KB", required=True),
            Property("Additional HTTP Methods"),
            Property("Client Authentication", "No Authentication", True,
                     ("No Authentication", "Want Authentication", "Need Authentication")),
            Property("Container Queue Size", "50"),
            Property("Multipart Request Max Size", "1 MB", required=True),
            Property("Multipart Read Buffer Size", "512 KB", required=True),
            Property("Parameters to Attributes"),
        ),
        ["success"],
        takes_input=False,
    ),
    _java(
        "org.apache.nifi.processors.standard.HandleHttpResponse",
        "nifi-standard-nar",
        (
            Property("HTTP Status Code", required=True),
            Property("HTTP Context Map", required=True, service=True),
            Property("Attributes for HTTP Response"),
        ),
        ["success", "failure"],
        dynamic=True,
    ),
    _java(
        "org.apache.nifi.processors.standard.RouteOnAttribute",
        "nifi-standard-nar",
        (
            Property("Routing Strategy", "Route to Property name", True,
                     ("Route to Property name", "Route to 'match' if all match", "Route to 'match' if any matches")),
        ),
        ["unmatched"],
        dynamic=True,
        routes=True,
    ),
    _java(
        "org.apache.nifi.processors.standard.PackageFlowFile",
        "nifi-standard-nar",
        (
            Property("Maximum Batch Size", "1", required=True),
            Property("Maximum Batch Content Size", "1 GB", required=True),
        ),
        ["success", "original"],
    ),
    _java(
        "org.apache.nifi.processors.standard.UnpackContent",
        "nifi-standard-nar",
        (
            Property("Packaging Format", "use mime.type attribute", True, _PACKAGINGS),
            Property("Filename Character Set", "UTF-8", True, needs=("Packaging Format",)),
            Property("File Filter", ".*", required=True),
            Property("Password", sensitive=True, needs=("Packaging Format",)),
            Property("Allow Stored Entries With Data Descriptor", "false", True, _TRUE_FALSE, needs=("Packaging Format",)),
        ),
        ["success", "original", "failure"],
    ),
    _java(
        "org.apache.nifi.processors.standard.ModifyBytes",
        "nifi-standard-nar",
        (
            Property("Start Offset", "0 B", required=True),
            Property("End Offset", "0 B", required=True),
            Property("Remove All Content", "false", True, _TRUE_FALSE),
        ),
        ["success"],
    ),
    _java(
        "org.apache.nifi.processors.attributes.UpdateAttribute",
        "nifi-update-attribute-nar",
        (
            Property("Delete Attributes Expression"),
            Property("Store State", "Do not store state", True, ("Do not store state", "Store state locally")),
            Property("Stateful Variables Initial Value"),
            Property("Cache Value Lookup Cache Size", "100", required=True),
        ),
        ["success"],
        dynamic=True,
    ),
    _java(
        "org.apache.nifi.http.StandardHttpContextMap",
        "nifi-http-context-map-nar",
        (
            Property("Maximum Outstanding Requests", "5000", required=True),
            Property("Request Expiration", "1 min", required=True),
        ),
        apis=("org.apache.nifi.http.HttpContextMap",),
    ),
    _java(
        "org.apache.nifi.ssl.PEMEncodedSSLContextProvider",
        "nifi-ssl-context-service-nar",
        (
            Property("TLS Protocol", "TLS", True, ("TLS", "TLSv1.3", "TLSv1.2")),
            Property("Private Key Source", "PROPERTIES", True, ("UNDEFINED", "PROPERTIES", "FILES")),
            # Required only where the source is PROPERTIES, a key in the flow, which ours is not.
            Property("Private Key", sensitive=True, needs=("Private Key Source",), definition=_resources("TEXT")),
            Property("Private Key Location", required=True, needs=("Private Key Source",), definition=_resources("FILE")),
            Property("Certificate Chain", needs=("Private Key Source",), definition=_resources("TEXT")),
            Property("Certificate Chain Location", required=True, needs=("Private Key Source",), definition=_resources("FILE")),
            Property("Certificate Authorities Source", "PROPERTIES", True, ("PROPERTIES", "SYSTEM")),
            Property("Certificate Authorities", required=True, needs=("Certificate Authorities Source",),
                     definition=_resources("FILE", "TEXT")),
        ),
        apis=("org.apache.nifi.ssl.SSLContextProvider",),
    ),
)  # fmt: skip


@cache
def component_types() -> Mapping[str, ComponentType]:
    """Every type that the flow may use, by its full name: ours as the code has them, NiFi's from the table."""
    ours = [_python_type(name) for name in processor_names()]
    return {component_type.type: component_type for component_type in (*ours, *_JAVA_TYPES)}


def our_types() -> Mapping[str, ComponentType]:
    return {
        name: component_type
        for name, component_type in component_types().items()
        if component_type.bundle[1] == "python-extensions"
    }


def _python_type(name: str) -> ComponentType:
    cls = processor_class(name)
    processor = cls()
    declared = {relationship.name for relationship in processor.getRelationships()}
    return ComponentType(
        type=name,
        bundle=("org.apache.nifi", "python-extensions", cls.ProcessorDetails.version),
        properties={d.name: _python_property(d) for d in processor.getPropertyDescriptors()},
        relationships=frozenset(declared | {"failure", "original"}),  # NiFi gives those two to every FlowFileTransform
    )


def _python_property(descriptor: Any) -> Property:
    return Property(
        name=descriptor.name,
        default=descriptor.defaultValue,
        required=descriptor.required,
        allowed=tuple(descriptor.allowableValues or ()),
        sensitive=descriptor.sensitive,
        service=descriptor.controllerServiceDefinition is not None,
        needs=tuple(d.property_descriptor.name for d in descriptor.dependencies or ()),
        definition=_resource(descriptor.resourceDefinition),
    )


def _resource(resource: Any) -> Mapping[str, Any] | None:
    if resource is None:
        return None
    allowed = {
        "FILE": resource.allow_file,
        "DIRECTORY": resource.allow_directory,
        "TEXT": resource.allow_text,
        "URL": resource.allow_url,
    }
    return {
        "resourceDefinition": {
            "cardinality": "MULTIPLE" if resource.allow_multiple else "SINGLE",
            "resourceTypes": sorted(kind for kind, yes in allowed.items() if yes),
        }
    }


# --- words to describe a flow with ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter."""

    name: str
    description: str
    value: str | None = None
    sensitive: bool = False


Place = tuple[int, int]


# Compared by identity: two groups may have ports that look alike.
@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Anything that a connection can begin or end at."""

    kind: str  # PROCESSOR INPUT_PORT OUTPUT_PORT FUNNEL
    name: str  # funnels have none in NiFi; here it tells two of them apart
    at: Place
    comments: str = ""
    enabled: bool = True
    # The name it had in the first release, if that was another: its identifier is made of it.
    known_as: str = field(default="", kw_only=True)

    @property
    def key(self) -> str:
        return self.known_as or self.name


@dataclass(frozen=True, slots=True)
class Retry:
    """NiFi tries `relationships` again `count` times, each time after a longer penalty, before a FlowFile leaves."""

    relationships: tuple[str, ...] = ()
    count: int = 10
    penalty: str = "30 sec"
    longest: str = "10 mins"


@dataclass(frozen=True, slots=True, eq=False)
class Processor(Part):
    type: str = ""
    settings: Mapping[str, str] | None = None  # only what differs from the default
    tasks: int = 1
    auto_terminated: tuple[str, ...] = ()  # relationships that are auto-terminated
    retry: Retry = Retry()
    bulletins: str = "WARN"  # the lowest level that NiFi's bulletin board shows; its log has the rest


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    name: str
    type: str
    comments: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Label:
    name: str
    at: Place
    size: Place
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    source: Part
    destination: Part
    relationships: tuple[str, ...] = ("",)  # the nameless one of ports and funnels
    name: str = ""  # NiFi shows the relationships where there is none
    bends: tuple[Place, ...] = ()
    label_at: int = 0  # the bend that carries the label
    objects: int = 1000
    size: str = "100 MB"
    # The relationships and the destination it had in the first release, if they were others: its identifier is made of them,
    # and NiFi replaces no flow where a connection that is gone still has something queued.
    known_by: tuple[str, ...] = ()
    known_to: Part | None = None
    expiration: str = "0 sec"  # after which a FlowFile in it is dropped; 0: never


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    name: str
    at: Place
    comments: str
    parts: Sequence[Part] = ()
    links: Sequence[Link] = ()
    labels: Sequence[Label] = ()
    services: Sequence[Service] = ()
    groups: Sequence[Group] = ()

    def input(self, name: str) -> Part:
        return self._port("INPUT_PORT", name)

    def output(self, name: str) -> Part:
        return self._port("OUTPUT_PORT", name)

    def _port(self, kind: str, name: str) -> Part:
        return next(part for part in self.parts if (part.kind, part.name) == (kind, name))


def port_in(name: str, at: Place, comments: str) -> Part:
    return Part("INPUT_PORT", name, at, comments)


def port_out(name: str, at: Place, comments: str, *, enabled: bool = True, known_as: str = "") -> Part:
    return Part("OUTPUT_PORT", name, at, comments, enabled, known_as=known_as)


def funnel(name: str, at: Place) -> Part:
    return Part("FUNNEL", name, at)


def processor(
    name: str,
    type_name: str,
    at: Place,
    comments: str,
    settings: Mapping[str, str] | None = None,
    *,
    tasks: int = 1,
    auto_terminated: tuple[str, ...] = (),
    retry: Retry = Retry(),
    bulletins: str = "WARN",
) -> Processor:
    return Processor(
        "PROCESSOR", name, at, comments, True, type_name, settings, tasks, auto_terminated, retry, bulletins
    )


# Packages that wait between two steps. Few: while there is no space, requests wait in front of the gathering step, where
# the next package grows by them, and a full queue there tells the senders.
_WAITING_PACKAGES = 1


def link(
    source: Part,
    destination: Part,
    *relationships: str,
    name: str = "",
    bends: tuple[Place, ...] = (),
    label_at: int = 0,
    objects: int = _WAITING_PACKAGES,
    known_by: tuple[str, ...] = (),
    known_to: Part | None = None,
) -> Link:
    return Link(
        source,
        destination,
        relationships or ("",),
        name,
        bends,
        label_at=label_at,
        objects=objects,
        known_by=known_by,
        known_to=known_to,
    )


def loop(part: Part, relationship: str, *, below: bool = False) -> Link:
    """Back to itself, roomy: what waits here was acknowledged and must not stop the flow before the store is back."""
    middle = part.at[0] + PROCESSOR_SIZE[0] // 2
    y = part.at[1] + PROCESSOR_SIZE[1] + 70 if below else part.at[1] - 70
    bends = ((middle - 60, y), (middle + 60, y))
    return Link(part, part, (relationship,), bends=bends, objects=10_000, size="1 GB")


def dead_letters(
    part: Part,
    dead_letter_queue: Part,
    relationships: Sequence[str],
    name: str,
    bends: tuple[Place, ...] = (),
    *,
    label_at: int = 0,
    known_to: Part | None = None,
) -> Link:
    """A queue that nothing empties but an operator. Without back pressure: a full one would stop the step in front of it."""
    return Link(
        part,
        dead_letter_queue,
        tuple(relationships),
        name,
        bends,
        label_at=label_at,
        objects=0,
        size="0 B",
        known_to=known_to,
    )


def waiting_for(source: Part, store: Part, relationship: str, name: str) -> Link:
    """In front of a store that nobody waits for: while it is away this grows, and nothing else stops. NiFi moves what is beyond
    20,000 FlowFiles to the disk.
    """
    return Link(source, store, (relationship,), name, objects=0, size="0 B")


def way_out(source: Part, port: Part, name: str) -> Link:
    """To a port that may lead nowhere: such a queue must not stop the flow, nor grow for ever."""
    return Link(source, port, name=name, objects=0, size="0 B", expiration="10 min")


# As NiFi 2 draws them. Where they stand: NiFi fits a group into the window when it is opened, and its two panels lie over
# the left upper corner. So each group keeps that corner free, and is no larger than a window of 1440 x 900 shows readably;
# tests/test_canvas.py knows how NiFi fits and draws.
PROCESSOR_SIZE: Place = (352, 128)
GROUP_SIZE: Place = (384, 176)
PORT_SIZE: Place = (240, 48)
FUNNEL_SIZE: Place = (48, 48)

# --- the flow ------------------------------------------------------------------------------------------------------


def _default(processor_type: str, name: str) -> str | None:
    """A property's default, so that an imported flow does what the processors do by themselves.

    None instead of an empty text: NiFi leaves a property unset whose parameter has no value, while an empty text is a
    value to it, which HandleHttpRequest's Hostname and ClassifyImage's Model Folder do not take.
    """
    return component_types()[processor_type].properties[name].default or None


@cache
def settings(tls: bool = False) -> tuple[Setting, ...]:
    """Everything that differs between two installations."""
    return (*_settings(), *(TLS_SETTINGS if tls else ()))


@cache
def _settings() -> tuple[Setting, ...]:
    return (
        Setting("http.images.path", "Path that takes images without waiting for the result, no slash around it.", "images"),
        Setting("http.images.port", "Port of that path. NiFi listens on every address of the node.", "8081"),
        Setting("http.classify.host", "Address of the node that /classify is served at. Without a value: all of them."),
        Setting("http.classify.port", "Port of /classify, which answers with the result.", "8082"),
        Setting("http.max.request.size", "Largest multipart body the listeners take. A third more than intake.max.size leaves"
                " room for base64 and for the other fields of a form.", "32 MB"),
        Setting("batch.max.images", "Most images that travel through the flow together. Only those that wait anyway are"
                " gathered: an image alone is a package of one.", "64"),
        Setting("batch.max.size", "Most bytes of such a package, 64 MB at most; a larger image travels alone.", "8 MB"),
        Setting("images.give.way", "While clients of /classify wait, a package of images of /images goes on this long after the"
                " one before, so that clients go first; at most 10 sec. 0 sec: all go alike.",
                _default("FilterImageRequest", "Give Way")),
        Setting("http.answer.timeout", "How long a client of /classify waits before NiFi answers 503.", "60 sec"),
        Setting("access.keys", "Pairs name:key, or name/scopes:key with read, send or admin as scopes, separated by commas, at"
                " least 16 characters a key. Without a value everybody may send and read.", sensitive=True),
        Setting("intake.max.size", "Largest image file.", _default("FilterImageRequest", "Maximum Size")),
        Setting("intake.max.pixels", "Largest width times height, of every format.",
                _default("FilterImageRequest", "Maximum Pixels")),
        Setting("intake.max.memory", "Most memory that decoding one image may take, judged by its header. Formats differ:"
                " 512 MB are 50 megapixels of JPEG, PNG or HEIC and 28 of WebP; see docs/intake.md.",
                _default("FilterImageRequest", "Maximum Memory")),
        Setting("intake.max.frames", "Most frames of an animation or pages of a document; 1 refuses them all.",
                _default("FilterImageRequest", "Maximum Frames")),
        Setting("intake.accepted.types", "Media types that may be declared, separated by commas.",
                _default("FilterImageRequest", "Accepted Types")),
        Setting("intake.allow.trailing.data", "true accepts bytes behind the end of the picture, as some phones write them.",
                _default("FilterImageRequest", "Allow Trailing Data")),
        Setting("intake.image.uris", "Prefixes such as s3://bucket/incoming/, separated by commas, inside which a JSON body may"
                " name an image. Without a value that is switched off.", _default("FilterImageRequest", "Allowed Image URIs")),
        Setting("intake.keep.fields", "Names of text fields of a form, separated by commas, whose texts are recorded with its"
                " images in the column fields. Without a value none are.", _default("FilterImageRequest", "Keep Fields")),
        Setting("source.trusted.proxies", "Addresses or networks, separated by commas, whose X-Forwarded-For is believed."
                " Without a value the peer is the source.", _default("EnrichImageMetadata", "Trusted Proxies")),
        Setting("source.keep.gps", "true records where the picture was taken, if it says so. Personal data.",
                _default("EnrichImageMetadata", "Keep GPS")),
        Setting("store.uri", "Where images are kept: a folder, or a URI such as s3://bucket/images or webhdfs://namenode:9870/images.",
                _default("StoreImage", "Store URI")),
        Setting("store.endpoint", "URL of an S3 or Azure store that is not Amazon's or Microsoft's.",
                _default("StoreImage", "Store Endpoint")),
        Setting("store.region", "Region of the bucket. Without a value that of the environment, else Amazon is asked.",
                _default("StoreImage", "Store Region")),
        Setting("store.path.style", "false puts the bucket into the host name instead of the path of a request.",
                _default("StoreImage", "Store Path Style")),
        Setting("store.access.key", "Access key id of S3, account of Azure. Without a value the platform's own chain is used:"
                " environment, credentials file, role of the machine.", _default("StoreImage", "Store Access Key")),
        Setting("store.secret.key", "Secret access key of S3, account key of Azure.", sensitive=True),
        Setting("store.session.token", "Token of temporary credentials of S3, delegation token of HDFS.", sensitive=True),
        Setting("store.ca.file", "PEM file with the authorities that sign the store's certificate.",
                _default("StoreImage", "Store CA File")),
        Setting("store.connect.timeout", "How long a connection to the store may take.",
                _default("StoreImage", "Store Connect Timeout")),
        Setting("store.read.timeout", "How long the store may be silent.", _default("StoreImage", "Store Read Timeout")),
        Setting("store.pack", "true keeps images below 1 MB that come together in one object, a tar file.",
                _default("StoreImage", "Store Pack")),
        Setting("model.folder", "Folder of a model with a sub-folder for each version. Without a value: the CIFAR-10 model of"
                " the bundle.", _default("ClassifyImage", "Model Folder")),
        Setting("model.version", "Version to serve; latest is the highest number in the folder.",
                _default("ClassifyImage", "Model Version")),
        Setting("model.runtime", "auto, litert or tensorflow.", _default("ClassifyImage", "Runtime")),
        Setting("model.top.k", "How many classes, most probable first, go into top_k.", _default("ClassifyImage", "Top K")),
        Setting("model.embedding", "true keeps what the model sees in each image, so that images that look alike are found: see"
                " docs/models.md.", _default("ClassifyImage", "Embedding")),
        Setting("kudu.masters", "host:port of each Kudu master, separated by commas. Without a value rows go to rows.database.",
                _default("PutKuduRecord", "Kudu Masters")),
        Setting("kudu.table", "Kudu table of the image records; it is made where it is not there.",
                _default("PutKuduRecord", "Table Name")),
        Setting("kudu.keep.months", "Whole months that Kudu keeps; older rows are DROPPED. Without a value all are kept.",
                _default("PutKuduRecord", "Months to Keep")),
        Setting("rows.database", "DuckDB file that takes the rows where there is no Kudu.",
                _default("PutKuduRecord", "Local Database")),
        Setting("images.pass.on", "true lets every image out of the flow once its row is written, with its record as"
                " attributes, at the output port images of the group: see docs/nifi.md.",
                _default("PutKuduRecord", "Pass Images On")),
        Setting("solr.url", "Address of the Solr collection. Without a value nothing is indexed.",
                _default("PutSolrDocument", "Solr URL")),
    )  # fmt: skip


TLS_SETTINGS = (
    Setting("tls.certificate", "PEM file on every node: the certificate of the listeners, and those between it and its root.",
            "./conf/tls/certificate.pem"),
    Setting("tls.private.key", "PEM file on every node: the key to that certificate, not encrypted, readable by NiFi only.",
            "./conf/tls/private-key.pem"),
    Setting("tls.client.authorities", "PEM file on every node: who signs the certificates of clients. The subject of such a"
            " certificate becomes source_user where there is no access key.", "./conf/tls/client-authorities.pem"),
    Setting("tls.images.client", "Certificates of clients of /images: WANT takes one if it is there, REQUIRED refuses clients"
            " without one, NONE does not ask.", "WANT"),
    Setting("tls.classify.client", "Certificates of clients of /classify: Want Authentication, Need Authentication or No"
            " Authentication.", "Want Authentication"),
)  # fmt: skip


def _retrying(*relationships: str) -> Retry:
    """15 seconds in all, where NiFi's defaults are hours: a client of /classify may wait for the outcome.

    `failure` is among them everywhere: when a Python process ends in the middle of a call, NiFi takes what it was at there,
    and whatever else comes until there is a new one, some seconds later.
    """
    return Retry((*relationships, "failure"), count=6, penalty="1 sec", longest="3 sec")


WAITING = Service(
    "Waiting requests",
    "StandardHttpContextMap",
    "Clients of /classify between their request and its answer. What is not answered in time gets 503.",
    {"Maximum Outstanding Requests": "5000", "Request Expiration": "#{http.answer.timeout}"},
)


PACKAGES = {"FlowFile Packages": "true"}


def packaging_step(name: str, at: Place) -> Processor:
    return processor(
        name,
        "PackageFlowFile",
        at,
        "Makes one FlowFile of those that wait, so that every later step pays NiFi's price of a FlowFile once for all of them."
        " Never waits for more.",
        {"Maximum Batch Size": "#{batch.max.images}", "Maximum Batch Content Size": "#{batch.max.size}"},
        auto_terminated=("original",),
    )


TLS = Service(
    "TLS",
    "PEMEncodedSSLContextProvider",
    "Certificate and key of the two listeners, and who signs the certificates of clients.",
    {
        "Private Key Source": "FILES",
        "Private Key Location": "#{tls.private.key}",
        "Certificate Chain Location": "#{tls.certificate}",
        "Certificate Authorities": "#{tls.client.authorities}",
    },
)


def handle_request(tls: bool = False) -> Group:
    secured = {"SSL Context Service": TLS.name} if tls else {}
    receive = processor(
        "Receive images",
        "ListenHTTP",
        (350, 0),
        "POST /images: acknowledged with 202 once NiFi holds the request on disk. A full queue answers 503.",
        {
            "Base Path": "#{http.images.path}",
            "Listening Port": "#{http.images.port}",
            "Return Code": "202",
            # An allow-list: every other header would become an attribute of each FlowFile and go into provenance.
            "HTTP Headers for Attributes": "(?i)(Content-Type|Content-Disposition|filename|Idempotency-Key|X-Access-Key"
            "|Authorization|X-Forwarded-For|X-Form-Content-Type)",
            "Multipart Request Max Size": "#{http.max.request.size}",
            **(secured | {"Client Authentication": "#{tls.images.client}"} if tls else {}),
        },
    )
    receive_waiting = processor(
        "Receive for classification",
        "HandleHttpRequest",
        (870, 0),
        "POST /classify: the client waits for the answer. The usual other methods are let in too, so that the next step can"
        " refuse them with a reason and a row.",
        {
            "Listening Port": "#{http.classify.port}",
            "Hostname": "#{http.classify.host}",
            "HTTP Context Map": WAITING.name,
            "Allowed Paths": "/classify",
            "Container Queue Size": "200",  # requests that come at once, before NiFi holds them; beyond it the answer is 503
            "Multipart Request Max Size": "#{http.max.request.size}",
            **(secured | {"Client Authentication": "#{tls.classify.client}"} if tls else {}),
        },
        tasks=4,  # bodies are copied by these, not by the server's own threads
    )
    # One for each listener: the images of a package are all waited for, or none is.
    gathered, gathered_waiting = (
        packaging_step("Gather images", (350, 240)),
        packaging_step("Gather requests", (870, 240)),
    )
    check = processor(
        "FilterImageRequest",
        "FilterImageRequest",
        (610, 500),
        "Accepts an image or rejects it with a stable code. Gives each request its id and its time. While clients wait, uploads"
        " stand back here.",
        {
            "Maximum Size": "#{intake.max.size}",
            "Maximum Pixels": "#{intake.max.pixels}",
            "Maximum Memory": "#{intake.max.memory}",
            "Maximum Frames": "#{intake.max.frames}",
            "Accepted Types": "#{intake.accepted.types}",
            "Allow Trailing Data": "#{intake.allow.trailing.data}",
            "Allowed Image URIs": "#{intake.image.uris}",
            "Access Keys": "#{access.keys}",
            "Give Way": "#{images.give.way}",
            "Maximum Form Size": "#{http.max.request.size}",
            "Keep Fields": "#{intake.keep.fields}",
            **PACKAGES,
        },
        tasks=2,
        auto_terminated=("original",),
        retry=_retrying(),
    )
    accepted = port_out("accepted", (1370, 440), "Images that passed every check.")
    rejected = port_out(
        "rejected", (1370, 560), "Requests that will never pass, with the reason; they are recorded too."
    )
    dead_letter_queue = funnel("dead letters", (1466, 680))
    answers = port_in("answers", (56, 560), "What goes back to waiting clients, from Storing Result.")
    answer = processor(
        "Answer",
        "HandleHttpResponse",
        (0, 700),
        "Sends the content and the status in http.response.status. Both ways out end here: the row is written already, and"
        " after a failure the client is gone.",
        {
            "HTTP Status Code": "${http.response.status}",
            "HTTP Context Map": WAITING.name,
            "Content-Type": "${mime.type}",
            "Retry-After": "${Retry-After}",
            # NiFi leaves headers with an empty value out; RFC 9110 wants these two with these two codes.
            "Allow": "${http.response.status:equals('405'):ifElse('POST', '')}",
            "WWW-Authenticate": "${http.response.status:equals('401'):ifElse('Bearer', '')}",
        },
        auto_terminated=("success", "failure"),
        # It fails where the client is gone, which is nothing to do for an operator, or has got its 503 because the flow was
        # too slow: that is on the board as a warning of the service that keeps who waits.
        bulletins="NONE",
    )
    return Group(
        "Handle Request",
        (500, 100),
        "Takes images over HTTP, refuses what is no image, and answers clients that wait.",
        [
            receive,
            receive_waiting,
            gathered,
            gathered_waiting,
            check,
            accepted,
            rejected,
            dead_letter_queue,
            answers,
            answer,
        ],
        [
            link(receive, gathered, "success", name="requests", objects=1000),
            link(receive_waiting, gathered_waiting, "success", name="requests, clients wait", objects=1000),
            link(gathered, check, "success", name="packages of requests"),
            link(gathered_waiting, check, "success", name="packages, clients wait"),
            link(check, accepted, "success", name="accepted images"),
            link(check, rejected, "rejected", name="rejected requests"),
            # Not to the rows: who sends packages of FlowFiles chooses their attributes, and nobody has checked these.
            dead_letters(check, dead_letter_queue, ["failure"], "dead letters: requests"),
            link(answers, answer, name="answers to clients", objects=1000),
        ],
        [
            Label(
                "doors",
                (1270, 0),
                (400, 225),
                "1. Images come in by one of two doors: /images says 202 at once, /classify lets the client wait for the"
                " result. Both lead to the same check. Its limits are parameters of the context image-warehouse.\n"
                "Behind a load balancer keep a client of /classify on its node: only that node can answer it.",
            ),
            Label(
                "keys",
                (440, 690),
                (690, 140),
                "Who may send: NiFi says of the property Access Keys that a sensitive value is set, even where there are no"
                " keys, because it refers to a parameter.\n"
                "The parameter access.keys tells: right-click the canvas > Parameters. No value set means that"
                " everybody may send.",
            ),
            Label(
                "dead letters",
                (1270, 745),
                (400, 85),
                "Dead letters: requests that could not be checked. They stay in the queue in front of this funnel.",
            ),
        ],
    )


def pre_processing() -> Group:
    accepted = port_in("accepted", (440, 0), "Images that passed every check.")
    rejected_in = port_in("rejected", (800, 0), "Rejected requests, which get their origin here too.")
    enrich = processor(
        "EnrichImageMetadata",
        "EnrichImageMetadata",
        (564, 180),
        "Adds the client's address and user, and facts about the image where the check has not left them.",
        {"Trusted Proxies": "#{source.trusted.proxies}", "Keep GPS": "#{source.keep.gps}", **PACKAGES},
        auto_terminated=("original",),
        retry=_retrying(),
    )
    store = processor(
        "StoreImage",
        "StoreImage",
        (564, 460),
        "Keeps the bytes under their sha256. While the store is away, acknowledged images wait in the loop, and waiting"
        " clients are told after 15 seconds.",
        {
            "Store URI": "#{store.uri}",
            "Store Endpoint": "#{store.endpoint}",
            "Store Region": "#{store.region}",
            "Store Path Style": "#{store.path.style}",
            "Store Access Key": "#{store.access.key}",
            "Store Secret Key": "#{store.secret.key}",
            "Store Session Token": "#{store.session.token}",
            "Store CA File": "#{store.ca.file}",
            "Store Connect Timeout": "#{store.connect.timeout}",
            "Store Read Timeout": "#{store.read.timeout}",
            "Store Pack": "#{store.pack}",
            **PACKAGES,
        },
        tasks=2,
        auto_terminated=("original",),
        retry=_retrying("retry", "refused"),
    )
    stored = port_out("stored", (1290, 500), "Images whose storage_uri is known, and those that the store refused.")
    rejected = port_out(
        "rejected with origin", (1290, 220), "Rejected requests with their origin.", known_as="rejected"
    )
    failed = port_out("not stored", (1290, 360), "Images that could not be read or stored.", known_as="failed")
    return Group(
        "Pre-processing",
        (1290, 100),
        "Records where an image came from and keeps its bytes.",
        [accepted, rejected_in, enrich, store, stored, rejected, failed],
        [
            link(accepted, enrich, name="accepted images", bends=((560, 110),)),
            link(rejected_in, enrich, name="rejected requests", bends=((920, 110),)),
            link(enrich, store, "success", name="images with their origin"),
            link(enrich, rejected, "rejected", name="rejected requests"),
            link(enrich, failed, "failure"),
            # An image that was not stored in time goes on among the others of its package; later steps pass over it.
            link(store, stored, "success", "refused", name="stored or refused images", known_by=("success",)),
            link(store, failed, "failure"),
            loop(store, "retry", below=True),
        ],
        [
            Label(
                "origin",
                (0, 560),
                (400, 160),
                "2. Where an image came from is noted, then its bytes go into the object store: each distinct picture"
                " once, under its sha256.\n"
                "While the store is away, images wait in the queue retry.",
            )
        ],
    )


def prediction() -> Group:
    stored = port_in("stored", (56, 0), "Images whose storage_uri is known, and those that the store refused.")
    classify = processor(
        "ClassifyImage",
        "ClassifyImage",
        (0, 160),
        "Runs the model inside this node. Tasks up to the number of cores help: inference runs outside Python's lock.",
        {
            "Model Folder": "#{model.folder}",
            "Model Version": "#{model.version}",
            "Runtime": "#{model.runtime}",
            "Top K": "#{model.top.k}",
            "Embedding": "#{model.embedding}",
            **PACKAGES,
        },
        tasks=2,
        auto_terminated=("original",),
        retry=_retrying(),
    )
    classified = port_out("classified", (56, 400), "Images with predicted_class and confidence.")
    failed = port_out("not classified", (520, 400), "Images that the model could not take.", known_as="failed")
    return Group(
        "Prediction",
        (1290, 580),
        "Classifies images with the model in the parameter model.folder.",
        [stored, classify, classified, failed],
        [
            link(stored, classify, name="stored images"),
            link(classify, classified, "success", name="images with their class"),
            link(classify, failed, "failure", bends=((640, 224),)),
        ],
        [
            Label(
                "model",
                (0, 500),
                (760, 90),
                "3. The model runs inside this node: no server to call, and no image leaves the cluster.\n"
                "Its folder and its version are the parameters model.folder and model.version.",
            )
        ],
    )


def storing_result() -> Group:
    classified = port_in("classified", (450, 60), "Images with their class.")
    rejected = port_in("rejected", (450, 160), "Rejected requests.")
    failed = port_in("failed", (450, 260), "Whatever an earlier step could not process.")
    every = funnel("every request", (960, 160))
    rows = processor(
        "PutKuduRecord",
        "PutKuduRecord",
        (1290, 120),
        "One row for each request, whatever became of it. The rows of"
        " a package share a commit, and those of tasks that write at the same time. Then the content becomes the answers.",
        {
            "Kudu Masters": "#{kudu.masters}",
            "Local Database": "#{rows.database}",
            "Table Name": "#{kudu.table}",
            "Months to Keep": "#{kudu.keep.months}",
            "Pass Images On": "#{images.pass.on}",
            **PACKAGES,
        },
        tasks=2,
        auto_terminated=("original",),
        retry=_retrying("retry", "refused"),
    )
    index = processor(
        "PutSolrDocument",
        "PutSolrDocument",
        (1930, 400),
        "Writes the record to the search index. Nobody waits for it: the row is what counts.",
        {"Solr URL": "#{solr.url}"},
        auto_terminated=("original", "success", "switched off"),
        retry=_retrying("retry"),
    )
    records_only = processor(
        "Keep records only",
        "ModifyBytes",
        (1290, 400),
        "The index needs the records in package.records and no image: while Solr is away, records wait here and not images.",
        {"Remove All Content": "true"},
    )
    waits = processor(
        "Somebody waits?",
        "RouteOnAttribute",
        (650, 400),
        "answers counts the clients of /classify, images what images.pass.on lets out. Without them, and without a search"
        " index, everything ends here: its row is written, and nobody waits.",
        {
            "waiting": "${answers:isEmpty():not()}",
            "images": "${images:isEmpty():not()}",
            "search": "${#{solr.url}:isEmpty():not()}",
        },
        auto_terminated=("unmatched",),
    )
    trim = processor(
        "Keep answers only",
        "UpdateAttribute",
        (650, 640),
        "What is unpacked inherits the attributes of its package, all that the listener knew, and NiFi would write them down"
        " five times for each answer. Answers have their own: a fifth of NiFi's work for an image.",
        {"Delete Attributes Expression": ".*"},
    )
    unpack = processor(
        "Unpack answers",
        "UnpackContent",
        (1290, 640),
        "One FlowFile for each answer again.",
        {"Packaging Format": "flowfile-stream-v3"},
        auto_terminated=("original",),
    )
    answers = port_out("answers", (1930, 680), "Answers for clients that wait, in Handle Request.")
    forget = processor(
        "Forget requests",
        "UpdateAttribute",
        (0, 900),
        "What is unpacked inherits the attributes of its package: all that the listener knew, where it came alone. The images"
        " and the answers in it have their own.",
        {"Delete Attributes Expression": ".*"},
    )
    unpack_images = processor(
        "Unpack images",
        "UnpackContent",
        (650, 900),
        "One FlowFile for each image, and for each answer.",
        {"Packaging Format": "flowfile-stream-v3"},
        auto_terminated=("original",),
    )
    which = processor(
        "Image or answer?",
        "RouteOnAttribute",
        (1290, 900),
        "Only answers have a status for the client.",
        {"answer": "${http.response.status:isEmpty():not()}"},
    )
    images = port_out("images", (1930, 940), "Images whose rows are written, with their records.")
    dead_letter_queue = funnel("dead letters", (2082, 180))
    dead_packages = funnel("dead letters of packages", (2240, 752))
    return Group(
        "Storing Result",
        (500, 580),
        "Writes one row and one document for each request, and hands over the answer.",
        [
            classified,
            rejected,
            failed,
            every,
            rows,
            index,
            waits,
            records_only,
            trim,
            unpack,
            answers,
            forget,
            unpack_images,
            which,
            images,
            dead_letter_queue,
            dead_packages,
        ],
        [
            link(classified, every, bends=((825, 84),)),
            link(rejected, every),
            link(failed, every, bends=((825, 284),)),
            link(every, rows, name="every request"),
            link(rows, waits, "success", name="written rows", bends=((1150, 350),)),
            link(waits, records_only, "search", name="packages for the index"),
            waiting_for(records_only, index, "success", name="records for the index"),
            # The rows of some images may be written all the same, and those may be let out: both kinds are told apart there.
            link(
                rows,
                forget,
                "refused",
                bends=((1150, 292), (780, 345), (470, 345), (470, 720)),
                label_at=1,
                known_to=unpack,
            ),
            loop(rows, "retry"),
            dead_letters(rows, dead_letter_queue, ["failure", "bad rows"], "dead letters: rows"),
            loop(index, "retry", below=True),
            dead_letters(index, dead_letter_queue, ["failure"], "dead letters: documents"),
            link(waits, trim, "waiting", name="answers, clients wait", known_to=unpack),
            link(trim, unpack, "success", name="packages of answers"),
            link(unpack, answers, "success", name="single answers", objects=1000),
            dead_letters(
                unpack,
                dead_packages,
                ["failure"],
                "dead letters: answers",
                ((1720, 776), (2100, 776)),
                label_at=1,
                known_to=dead_letter_queue,
            ),
            link(waits, forget, "images", name="images to let out", bends=((600, 560), (570, 830)), label_at=1),
            link(forget, unpack_images, "success", name="packages of images"),
            link(unpack_images, which, "success", name="images and answers", objects=1000),
            dead_letters(
                unpack_images,
                dead_packages,
                ["failure"],
                "dead letters: images",
                ((826, 1080), (2264, 1080)),
                known_to=dead_letter_queue,
            ),
            link(which, answers, "answer", name="answers", objects=1000),
            link(which, images, "unmatched", name="images", objects=1000),
        ],
        [
            Label(
                "rows",
                (450, 0),
                (800, 40),
                "4. One row in Kudu for every request, then the answer for those who wait.",
            ),
            Label(
                "dead letters",
                (1720, 20),
                (450, 135),
                "Dead letters: what no further try will save. They stay in the queues in front of this funnel until"
                " somebody has looked at them; status, error_code and error_detail are in the attributes.",
            ),
            Label(
                "way out",
                (0, 1048),
                (680, 80),
                "Where images.pass.on is true, each image leaves here with its record.\n"
                "Answers to those who could not be served come by here, too.",
            ),
        ],
    )


def image_warehouse(tls: bool = False) -> Group:
    handle, prepare, predict, result = handle_request(tls), pre_processing(), prediction(), storing_result()
    # Disabled: NiFi counts a port that leads nowhere as invalid, and all who do not want the images would have one.
    images = port_out(
        "images",
        (0, 644),
        "Every image after its row, where images.pass.on is true. Connect it, then enable and start it.",
        enabled=False,
    )

    def beside(group: Group, text: str, *, below: bool = False) -> Label:
        height = 90
        y = group.at[1] + GROUP_SIZE[1] + 10 if below else group.at[1] - 10 - height
        return Label(group.name, (group.at[0], y), (GROUP_SIZE[0], height), text)

    return Group(
        "Image Warehouse",
        (0, 0),
        "Takes images over HTTP, keeps and classifies them inside NiFi, and writes one row and one document for each.",
        [images],
        links=[
            link(handle.output("accepted"), prepare.input("accepted"), name="accepted images", bends=((1087, 140),)),
            link(handle.output("rejected"), prepare.input("rejected"), name="rejected requests", bends=((1087, 236),)),
            link(prepare.output("stored"), predict.input("stored"), name="stored images"),
            link(predict.output("classified"), result.input("classified"), name="images with their class",
                 bends=((1087, 620),)),
            link(predict.output("not classified"), result.input("failed"), name="images without a class",
                 bends=((1087, 716),)),
            link(prepare.output("rejected with origin"), result.input("rejected"), name="rejected requests",
                 bends=((1000, 370),)),
            link(prepare.output("not stored"), result.input("failed"), name="images that failed", bends=((1174, 480),)),
            link(result.output("answers"), handle.input("answers"), name="answers to clients", objects=1000),
            way_out(result.output("images"), images, "images with their records"),
        ],
        labels=[
            beside(handle, "1. Takes POST /images and POST /classify, and answers. Only whole images of an accepted type"
                   " pass."),
            beside(prepare, "2. Notes where an image came from, and puts its bytes into the object store, each picture once."),
            beside(predict, "3. Gives each image its class. The model runs inside this node: no server to call.", below=True),
            beside(result, "4. Writes one row in Kudu and one document in Solr, and hands the answer to those who wait.",
                   below=True),
            Label("way out", (0, 740), (440, 110), "The way out, for flows of yours: see docs/nifi.md. What nobody takes"
                  " from the queue in front of this port is dropped after 10 minutes."),
        ],
        services=[WAITING, *([TLS] if tls else [])],
        groups=[handle, prepare, predict, result],
    )  # fmt: skip


# --- the flow as NiFi writes it ------------------------------------------------------------------------------------


def identifier(*path: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "/".join(path)))


class _Renderer:
    """Turns the description into NiFi's JSON; knows where each part is and what each service is called by."""

    def __init__(self, root: Group) -> None:
        self._paths: dict[Part, tuple[str, ...]] = {}
        self._services: dict[str, str] = {}
        self._types = {component_type.short: component_type for component_type in component_types().values()}
        for group, path in _walk(root, (root.name,)):
            self._paths |= dict.fromkeys(group.parts, path)
            for service in group.services:
                self._services[service.name] = identifier(*path, "CONTROLLER_SERVICE", service.name)

    def group(self, group: Group, parent: tuple[str, ...] = ()) -> dict[str, Any]:
        path = (*parent, group.name)
        rendered = {
            **_common("PROCESS_GROUP", path, group.name, parent, group.at, group.comments),
            "identifier": identifier(*path),
            "connections": [self._link(item, path) for item in group.links],
            "controllerServices": [self._service(service, path) for service in group.services],
            "defaultBackPressureDataSizeThreshold": "100 MB",
            "defaultBackPressureObjectThreshold": 1000,
            "defaultFlowFileExpiration": "0 sec",
            "executionEngine": "INHERITED",
            "flowFileConcurrency": "UNBOUNDED",
            "flowFileOutboundPolicy": "STREAM_WHEN_AVAILABLE",
            "funnels": [self._funnel(part, path) for part in group.parts if part.kind == "FUNNEL"],
            "inputPorts": [self._port(part, path) for part in group.parts if part.kind == "INPUT_PORT"],
            "labels": [_label(label, path) for label in group.labels],
            "maxConcurrentTasks": 1,
            "outputPorts": [self._port(part, path) for part in group.parts if part.kind == "OUTPUT_PORT"],
            "parameterContextName": PARAMETER_CONTEXT,
            "processGroups": [self.group(child, path) for child in group.groups],
            "processors": [self._processor(part, path) for part in group.parts if isinstance(part, Processor)],
            "remoteProcessGroups": [],
            "scheduledState": "ENABLED",
            "statelessFlowTimeout": "1 min",
        }
        if not parent:
            del rendered["groupIdentifier"]
        return rendered

    def _processor(self, part: Processor, path: tuple[str, ...]) -> dict[str, Any]:
        component_type = self._types[part.type]
        return {
            **_common("PROCESSOR", path, part.name, path, part.at, part.comments),
            **self._configuration(component_type, part.settings or {}),
            "autoTerminatedRelationships": sorted(part.auto_terminated),
            "backoffMechanism": "PENALIZE_FLOWFILE",
            "bulletinLevel": part.bulletins,
            "concurrentlySchedulableTaskCount": part.tasks,
            "executionNode": "ALL",
            "maxBackoffPeriod": part.retry.longest,
            "penaltyDuration": part.retry.penalty,
            "retriedRelationships": sorted(part.retry.relationships),
            "retryCount": part.retry.count,
            "runDurationMillis": 0,
            "scheduledState": "ENABLED",
            "schedulingPeriod": "0 sec",
            "schedulingStrategy": "TIMER_DRIVEN",
            "style": {},
            "yieldDuration": "1 sec",
        }

    def _service(self, service: Service, path: tuple[str, ...]) -> dict[str, Any]:
        component_type = self._types[service.type]
        api = {"artifact": "nifi-standard-services-api-nar", "group": "org.apache.nifi", "version": _NIFI}
        rendered = {
            **_common("CONTROLLER_SERVICE", path, service.name, path, (0, 0), service.comments),
            **self._configuration(component_type, service.settings),
            "bulletinLevel": "WARN",
            "controllerServiceApis": [{"bundle": api, "type": name} for name in component_type.apis],
            "scheduledState": "DISABLED",
        }
        del rendered["position"]
        return rendered

    def _configuration(self, component_type: ComponentType, values: Mapping[str, str]) -> dict[str, Any]:
        dynamic = [Property(name) for name in values if name not in component_type.properties]
        properties = {
            p.name: self._value(p, values.get(p.name, p.default))
            for p in (*component_type.properties.values(), *dynamic)
        }
        return {
            "bundle": dict(zip(("group", "artifact", "version"), component_type.bundle, strict=True)),
            "properties": properties,
            "propertyDescriptors": {
                **{p.name: _descriptor(p, dynamic=False) for p in component_type.properties.values()},
                **{p.name: _descriptor(p, dynamic=True) for p in dynamic},
            },
            "type": component_type.type,
        }

    def _value(self, prop: Property, value: str | None) -> str | None:
        return self._services[value] if prop.service and value is not None else value

    def _port(self, part: Part, path: tuple[str, ...]) -> dict[str, Any]:
        return {
            **_common(part.kind, path, part.name, path, part.at, part.comments),
            "identifier": identifier(*path, part.kind, part.key),
            "allowRemoteAccess": False,
            "concurrentlySchedulableTaskCount": 1,
            "portFunction": "STANDARD",
            "scheduledState": "ENABLED" if part.enabled else "DISABLED",
            "type": part.kind,
        }

    def _funnel(self, part: Part, path: tuple[str, ...]) -> dict[str, Any]:
        rendered = _common(part.kind, path, part.name, path, part.at, "")
        del rendered["name"], rendered["comments"]  # NiFi's funnels have neither
        return rendered

    def _link(self, item: Link, path: tuple[str, ...]) -> dict[str, Any]:
        ends = [
            f"{part.kind} {'/'.join(self._paths[part])}/{part.key}"
            for part in (item.source, item.known_to or item.destination)
        ]
        known_by = sorted(item.known_by or item.relationships)
        rendered = {
            **_common("CONNECTION", path, " -> ".join((*ends, *known_by)), path, (0, 0), ""),
            "backPressureDataSizeThreshold": item.size,
            "backPressureObjectThreshold": item.objects,
            "bends": [_position(bend) for bend in item.bends],
            "destination": self._end(item.destination),
            "flowFileExpiration": item.expiration,
            "labelIndex": item.label_at,
            "loadBalanceCompression": "DO_NOT_COMPRESS",
            "loadBalanceStrategy": "DO_NOT_LOAD_BALANCE",
            "name": item.name,
            "partitioningAttribute": "",
            "prioritizers": [],
            "selectedRelationships": sorted(item.relationships),
            "source": self._end(item.source),
            "zIndex": 0,
        }
        del rendered["position"], rendered["comments"]
        return rendered

    def _end(self, part: Part) -> dict[str, Any]:
        path = self._paths[part]
        end = {"groupId": identifier(*path), "id": identifier(*path, part.kind, part.key), "type": part.kind}
        name = "Funnel" if part.kind == "FUNNEL" else part.name  # what NiFi writes for all of them
        return end | {"comments": part.comments, "name": name}


def _walk(group: Group, path: tuple[str, ...]) -> Iterator[tuple[Group, tuple[str, ...]]]:
    yield group, path
    for child in group.groups:
        yield from _walk(child, (*path, child.name))


def _common(
    kind: str, path: tuple[str, ...], name: str, parent: tuple[str, ...], at: Place, comments: str
) -> dict[str, Any]:
    return {
        "comments": comments,
        "componentType": kind,
        "groupIdentifier": identifier(*parent),
        "identifier": identifier(*path, kind, name),
        "name": name,
        "position": _position(at),
    }


def _position(at: Place) -> dict[str, float]:
    return {"x": float(at[0]), "y": float(at[1])}


def _label(label: Label, path: tuple[str, ...]) -> dict[str, Any]:
    rendered = {
        **_common("LABEL", path, label.name, path, label.at, ""),
        "height": float(label.size[1]),
        "label": label.text,
        "style": {"background-color": "#fff7d7", "font-size": "18px"},
        "width": float(label.size[0]),
        "zIndex": 0,
    }
    del rendered["name"], rendered["comments"]
    return rendered


def _descriptor(prop: Property, *, dynamic: bool) -> dict[str, Any]:
    return {
        "displayName": prop.name,
        "dynamic": dynamic,
        "identifiesControllerService": prop.service,
        "name": prop.name,
        "sensitive": prop.sensitive,
        **(prop.definition or {}),
    }


def _parameter(setting: Setting) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "description": setting.description,
        "name": setting.name,
        "provided": False,
        "sensitive": setting.sensitive,
    }
    return rendered if setting.value is None else rendered | {"value": setting.value}


def build_flow(tls: bool = False) -> dict[str, Any]:
    """The whole file as one JSON object."""
    root = image_warehouse(tls)
    context = {
        "componentType": "PARAMETER_CONTEXT",
        "description": "Everything of the image warehouse that differs between two installations.",
        "inheritedParameterContexts": [],
        "name": PARAMETER_CONTEXT,
        "parameters": [_parameter(setting) for setting in settings(tls)],
    }
    return {
        "externalControllerServices": {},
        "flowContents": _Renderer(root).group(root),
        "flowEncodingVersion": "1.0",
        "latest": False,
        "parameterContexts": {PARAMETER_CONTEXT: context},
        "parameterProviders": {},
    }


def flow_bytes(tls: bool = False) -> bytes:
    return (json.dumps(build_flow(tls), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if any(argument != "--check" for argument in arguments):
        print("usage: python -m imagewarehouse.flows.build [--check]", file=sys.stderr)
        return 2
    built = {FLOW_FILE: flow_bytes(), TLS_FLOW_FILE: flow_bytes(tls=True)}
    if not arguments:
        for path, content in built.items():
            path.write_bytes(content)
        return 0
    stale = [path for path, content in built.items() if not path.is_file() or path.read_bytes() != content]
    for path in stale:
        print(f"{path.name} is not up to date: run python -m imagewarehouse.flows.build", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
