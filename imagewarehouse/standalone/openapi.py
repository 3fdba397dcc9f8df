"""The OpenAPI 3.1 document of the HTTP API, and the same as a page for people, made of the tables that the code uses."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from imagewarehouse import __version__
from imagewarehouse.analytics.formats import ARROW_TYPE, CSV_TYPE
from imagewarehouse.analytics.page_files import PageFile
from imagewarehouse.analytics.panels import PANELS, Column
from imagewarehouse.analytics.parameters import PARAMETERS, Parameter
from imagewarehouse.analytics.service import columns_of_panels, question_of
from imagewarehouse.answers import PROBLEM_TYPE
from imagewarehouse.errors import all_errors
from imagewarehouse.images.thumbnails import LARGEST, SMALLEST
from imagewarehouse.metadata import COLUMNS, STATUSES, ColumnType
from imagewarehouse.search.asking import ONCE
from imagewarehouse.search.query import FACETS, MOST_CHOICES, MOST_HITS
from imagewarehouse.search.words import MOST_CHARACTERS

STYLE = "/assets/api.css"

Json = dict[str, Any]

UNITS: Mapping[str, tuple[str, Json]] = {
    "images": ("how many", {"type": ["integer", "null"]}),
    "bytes": ("bytes", {"type": ["integer", "null"]}),
    "share": ("a part of 1", {"type": ["number", "null"]}),
    "ms": ("milliseconds", {"type": ["number", "null"]}),
    "number": ("a number", {"type": ["number", "null"]}),
    "time": ("ISO 8601 in the zone asked for", {"type": ["string", "null"], "format": "date-time"}),
    "text": ("text", {"type": ["string", "null"]}),
}
"""What the unit of a column means, and its values as JSON Schema."""

FACTS: Mapping[str, str] = {
    "classes": "`classes`: distinct ones; `images`: with a class",
    "over-time": "`starts`: of every column of the chart, those without rows included",
    "sources": "`sources`: how many there are in all, pairs of an address and a user",
    "confidence": "`images`: with a confidence; `below`: of these, under the threshold; `below_share`",
    "drift": "`images`, `images_before`: with a class, now and in the period before;"
    " `index_training`, `index_before`, `index_confidence`: population stability index of the classes against"
    " training, of the classes and of the confidence against the period before; under 0.1 alike, over 0.25 apart; null where"
    " one is empty",
    "duplicates": "`pictures`: how many there are in all",
    "latest": "`after`: for the next page; missing on the last one",
}

_FIGURES = "figures"  # the tag of operations that every service with a page has
_SENDING = "sending"  # of those that take pictures in
SENDING = ("/images", "/classify")  # their paths
_BESIDE = ("search", "image", "thumbnail", "images", "classify")

_TYPES: Mapping[ColumnType, Json] = {
    "string": {"type": "string"}, "timestamp": {"type": "string", "format": "date-time"},
    "int32": {"type": "integer"}, "int64": {"type": "integer"}, "float": {"type": "number"}, "double": {"type": "number"},
}  # fmt: skip
_AS_JSON: Mapping[str, Json] = {  # columns that are JSON themselves
    "fields": {"type": "object", "additionalProperties": {"type": "string"}},
    "notes": {"type": "array", "items": {"type": "string"}},
    "top_k": {"type": "array", "items": {"type": "object", "properties": {"class": {"type": "string"},
                                                                         "probability": {"type": "number"}}}},
}  # fmt: skip
_ANYBODY: list[Json] = [{}]
_STATUS_OF_READING = (400, 401, 404, 405, 503)
_STATUS_OF_SENDING = (400, 401, 403, 408, 413, 415, 422, 503)
# Error codes that each kind of operation may answer with.
_READ = frozenset({"request.bad_parameter", "request.unknown", "request.method_not_allowed", "access.key_missing",
                   "access.key_wrong", "access.not_allowed", "busy"})  # fmt: skip
_OF_FIGURES = _READ | {"analytics.unavailable", "request.not_found"}
_OF_IMAGES = _READ | {
    "image.not_found", "request.range_not_satisfiable", "objects.unavailable", "objects.refused", "image.unavailable",
    "image.too_many_pixels", "image.no_decoder", "image.corrupt", "image.truncated", "image.unsupported",
}  # fmt: skip
_OF_SEARCHES = _READ | {"search.unavailable", "search.not_configured"}
_NOT_OF_SENDING = frozenset({"analytics.unavailable", "search.unavailable", "search.not_configured", "image.not_found",
                             "image.unavailable", "request.not_found", "rejected"})  # fmt: skip
_OF_SENDING = (
    frozenset(code for code in all_errors() if not code.startswith(("kudu.", "solr.", "records.", "package.")))
    - _NOT_OF_SENDING
)


def document(*, sending: Sequence[str] = SENDING, images: bool = True, searches: bool = True) -> Json:
    """The OpenAPI document. `sending`: paths that take pictures here. `images`: whether stored pictures are served.

    `searches`: whether requests are searched here.
    """
    paths: Json = {
        "/api/queries": {"get": _queries()},
        **{f"/api/queries/{name}": {"get": _panel(name)} for name in PANELS},
        "/api/request/{request_id}": {"get": _request()},
        "/api/metrics": {"get": _metrics()},
    }
    if searches:
        paths["/search"] = {"get": _search()}
    if images:
        paths["/images/{image_id}"] = {"get": _image()}
        paths["/images/{image_id}/thumbnail"] = {"get": _thumbnail()}
    if "/images" in sending:
        paths["/images"] = {"post": _send("images", "Takes a picture in; answers once it is safe, before it is classified",
                                          {"type": "object", "properties": {"request_id": {"type": "string"}}})}  # fmt: skip
    if "/classify" in sending:
        paths["/classify"] = {"post": _send("classify", "Takes a picture in, classifies it, and answers with its record",
                                            {"$ref": "#/components/schemas/Record"})}  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Image Warehouse",
            "version": __version__,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
            "description": "Figures about images, the images themselves, and how they are sent. Errors are problem details"
            " (RFC 9457). A key that may `read` sees everything, one that may only `send` what was sent with it.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"bearer": []}, {}],
        "tags": [{"name": _FIGURES}, {"name": "search"}, {"name": "images"}, {"name": _SENDING}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-Access-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "parameters": {name: _parameter(parameter) for name, parameter in PARAMETERS.items()},
            "headers": _HEADERS,
            "schemas": {
                "Problem": _problem_schema(),
                "Record": _record_schema(),
                "Period": _period_schema(),
                "Column": _object(name={"type": "string"}, unit={"type": "string", "enum": list(UNITS)}),
            },
        },
    }  # fmt: skip


def served_beside(about: Json, sending: Collection[str]) -> tuple[str, ...]:
    """The operations of a document beside figures, by `operationId`: what GET /api/queries says, and the page shows.

    `sending`: the paths of this port that take pictures in; others in the document are those of other ports.
    """
    return tuple(
        operation["operationId"]
        for path, operations in about["paths"].items()
        for operation in operations.values()
        if _FIGURES not in operation["tags"] and (_SENDING not in operation["tags"] or path in sending)
    )


# --- operations ---------------------------------------------------------------------------------------------------


def _queries() -> Json:
    listed = _object(name={"type": "string"}, question={"type": "string"}, columns=_list_of("Column"))
    beside = {"type": "array", "items": {"type": "string", "enum": list(_BESIDE)}}
    served = "the operations beside figures that this port offers to this key, by `operationId`"
    answer = _object(queries={"type": "array", "items": listed}, serves={**beside, "description": served})
    return {
        "operationId": "queries",
        "tags": [_FIGURES],
        "summary": "Which queries there are, and what else is served here",
        "responses": {"200": _ok("The list", answer), **_refusals((400, 401, 405), _OF_FIGURES)},
    }


def _panel(name: str) -> Json:
    columns = columns_of_panels()[name]
    used = [p for p in PARAMETERS.values() if not p.panels or name in p.panels]
    answer = _object(
        name={"const": name},
        question={"type": "string"},
        period={"$ref": "#/components/schemas/Period"},
        columns=_list_of("Column"),
        rows={
            "type": "array",
            "items": {
                "type": "array",
                "prefixItems": [{**_unit(c), "title": c.name} for c in columns],
                "minItems": len(columns),
                "maxItems": len(columns),
            },
        },
        facts={"type": "object", "description": FACTS.get(name, "none")},
        as_of={"type": "string", "format": "date-time", "description": "when the rows were asked"},
        age_s={"type": "number", "description": "how many seconds ago that was"},
    )
    table = ", ".join(f"`{c.name}` ({UNITS[c.unit][0]})" for c in columns)
    facts = f"\n\nFacts: {FACTS[name]}." if name in FACTS else ""
    return {
        "operationId": f"query_{name.replace('-', '_')}",
        "tags": [_FIGURES],
        "summary": question_of(name),
        "description": f"Columns: {table}.{facts}",
        "parameters": [{"$ref": f"#/components/parameters/{parameter.name}"} for parameter in used],
        "responses": {
            "200": {
                "description": "The figures",
                "headers": {
                    header: {"$ref": f"#/components/headers/{header}"} for header in ("ETag", "Age", "X-As-Of")
                },
                "content": {
                    "application/json": {"schema": answer},
                    CSV_TYPE.partition(";")[0]: {"schema": {"type": "string"}},
                    ARROW_TYPE: {},
                },
            },
            "304": {"description": "The client has them already (If-None-Match)"},
            **_refusals(_STATUS_OF_READING, _OF_FIGURES),
        },
    }


def _request() -> Json:
    return {
        "operationId": "request",
        "tags": [_FIGURES],
        "summary": "What is known of one request?",
        "parameters": [_in_path("request_id", {"type": "string", "format": "uuid"}, "as the answer to it gave it")],
        "responses": {
            "200": _ok("Its record", {"allOf": [{"$ref": "#/components/schemas/Record"}, _object(
                as_of={"type": "string", "format": "date-time"}, age_s={"type": "number"})]}),
            **_refusals(_STATUS_OF_READING, _OF_FIGURES),
        },
    }  # fmt: skip


def _metrics() -> Json:
    return {
        "operationId": "metrics",
        "tags": [_FIGURES],
        "summary": "The last 15 minutes and the drift of the last day, for Prometheus; takes a key that may read",
        "responses": {
            "200": {
                "description": "In Prometheus' text format",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_refusals((400, 401, 403, 405, 503), _OF_FIGURES),
        },
    }


def _search() -> Json:
    found = _object((), similarity={"type": "number"}, highlights={"type": "object"})
    hit = {"allOf": [{"$ref": "#/components/schemas/Record"}, found]}
    counts = {"type": "array", "items": _object(value={"type": "string"}, count={"type": "integer"})}
    answer = _object(
        total={"type": "integer"},
        hits={"type": "array", "items": hit},
        facets={"type": "object", "additionalProperties": counts},
        next_cursor={"type": ["string", "null"], "description": "`cursor` of the next page; null on the last one"},
        next={"type": ["string", "null"], "description": "the next page as path and query"},
        note={"type": ["string", "null"], "description": "why nothing can be found"},
    )
    parameters = []
    for name, (meaning, schema) in _SEARCHED.items():
        many = name not in ONCE
        parameters.append(
            {
                "name": name,
                "in": "query",
                "description": meaning,
                "schema": {"type": "array", "items": schema, "maxItems": MOST_CHOICES} if many else schema,
                **({"style": "form", "explode": True} if many else {}),
            }
        )
    return {
        "operationId": "search",
        "tags": ["search"],
        "summary": "Requests and their pictures by words, conditions and likeness",
        "description": "All conditions have to be met; of one that is given several times, one. docs/search.md has more.",
        "parameters": parameters,
        "responses": {
            "200": _ok("What was found, the best first", answer),
            **_refusals((400, 401, 405, 501, 503), _OF_SEARCHES),
        },
    }


_TIME = {"type": "string", "examples": ["2026-11-01", "2026-11-01T12:30:00Z", "7d"]}
_PART = {"type": "number", "minimum": 0, "maximum": 1}
_SEARCHED: Mapping[str, tuple[str, Json]] = {
    "q": ("words; typing mistakes are forgiven", {"type": "string", "maxLength": MOST_CHARACTERS}),
    "class": ("the predicted class, exactly", {"type": "string"}),
    "model": ("the model: a name, a version, or name/version", {"type": "string"}),
    "user": ("the source user", {"type": "string"}),
    "status": ("what became of the request", {"type": "string", "enum": list(STATUSES)}),
    "error": ("the error code", {"type": "string"}),
    "format": ("the format of the picture", {"type": "string", "examples": ["JPEG", "PNG"]}),
    "facet": ("values to count among all hits", {"type": "string", "enum": list(FACETS)}),
    "image": ("the image_id", {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}),
    "source": ("the source address, or a network", {"type": "string", "examples": ["10.0.0.0/8"]}),
    "since": ("from then on; a time without a zone is in UTC", _TIME),
    "until": ("before then", _TIME),
    "min_confidence": ("least confidence", _PART),
    "max_confidence": ("greatest confidence", _PART),
    "like": ("pictures that look like the one of this image_id", {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}),
    "limit": ("most hits of a page", {"type": "integer", "minimum": 0, "maximum": MOST_HITS, "default": 20}),
    "cursor": ("the next page: `next_cursor` of the page before", {"type": "string"}),
}


def _image() -> Json:
    return {
        "operationId": "image",
        "tags": ["images"],
        "summary": "A stored picture, byte for byte; ranges are answered (206)",
        "parameters": [_image_id()],
        "responses": {
            "200": {"description": "The picture", "content": {"image/*": {}}},
            "206": {"description": "A part of it (Range)", "content": {"image/*": {}}},
            "304": {"description": "The client has it already (If-None-Match)"},
            **_refusals((401, 404, 405, 416, 503), _OF_IMAGES),
        },
    }


def _thumbnail() -> Json:
    side = {"type": "integer", "minimum": SMALLEST, "maximum": LARGEST, "default": 256}
    meaning = "pixels of the longest side"
    return {
        "operationId": "thumbnail",
        "tags": ["images"],
        "summary": "A small picture of it: upright, in sRGB",
        "parameters": [_image_id(), {"name": "size", "in": "query", "schema": side, "description": meaning}],
        "responses": {
            "200": {"description": "The thumbnail", "content": {"image/jpeg": {}, "image/webp": {}}},
            "304": {"description": "The client has it already (If-None-Match)"},
            **_refusals((400, 401, 404, 405, 413, 415, 422, 503), _OF_IMAGES),
        },
    }


def _send(name: str, summary: str, answer: Json) -> Json:
    form = {
        "type": "object",
        "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
    }
    as_json = {
        "type": "object",
        "properties": {
            "image": {"type": "string", "contentEncoding": "base64"},
            "image_uri": {"type": "string", "description": "where it lies, instead; only under allowed prefixes"},
            "file_name": {"type": "string"},
        },
    }
    return {
        "operationId": name,
        "tags": [_SENDING],
        "summary": summary,
        "parameters": [
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "format": "uuid"},
             "description": "a UUIDv7; the same key at a retry writes the same row"},
        ],
        "requestBody": {
            "required": True,
            "content": {"image/*": {}, "multipart/form-data": {"schema": form}, "application/json": {"schema": as_json}},
        },
        "responses": {"200": _ok("Taken", answer), **_refusals(_STATUS_OF_SENDING, _OF_SENDING)},
    }  # fmt: skip


# --- parts --------------------------------------------------------------------------------------------------------

_HEADERS: Json = {
    "ETag": {
        "schema": {"type": "string"},
        "description": "weak: changes with the figures, not with when they were asked",
    },
    "Age": {"schema": {"type": "integer"}, "description": "seconds since the rows were asked"},
    "X-As-Of": {"schema": {"type": "string", "format": "date-time"}, "description": "when that was; also with 304"},
}


def _parameter(parameter: Parameter) -> Json:
    schema: Json = dict(parameter.schema)
    found: Json = {"name": parameter.name, "in": "query", "description": parameter.meaning}
    if not parameter.repeated:
        return {**found, "schema": schema}
    repeated = {"type": "array", "items": schema, "maxItems": 100}
    return {**found, "schema": repeated, "style": "form", "explode": True}


def _in_path(name: str, schema: Json, meaning: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": meaning}


def _image_id() -> Json:
    return _in_path("image_id", {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}, "sha256 of its bytes")


def _ok(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(statuses: Iterable[int], codes: Iterable[str]) -> Json:
    """With the codes of these that have the status."""
    return {str(status): _refusal(status, codes) for status in statuses}


def _refusal(status: int, codes: Iterable[str]) -> Json:
    errors = all_errors()
    of_status = sorted(code for code in codes if errors[code].http_status == status)
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": f"One of: {', '.join(of_status)}", "content": {PROBLEM_TYPE: problem}}


def _problem_schema() -> Json:
    text = {"type": "string"}
    return _object(
        ("type", "title", "status", "error_code"),
        type={"type": "string", "format": "uri"}, title=text, status={"type": "integer"},
        error_code={"type": "string", "enum": sorted(all_errors())}, detail=text, request_id=text, instance=text,
    )  # fmt: skip


def _record_schema() -> Json:
    found = {}
    for column in COLUMNS:
        schema = dict(_AS_JSON.get(column.name, _TYPES.get(column.type, {})))
        if column.name == "status":
            schema["enum"] = list(STATUSES)
        if column.nullable and "type" in schema:
            schema["type"] = [schema["type"], "null"]
        found[column.name] = {**schema, "description": column.meaning}
    return _object((), **found)


def _period_schema() -> Json:
    moment = {"type": "string", "format": "date-time"}
    return _object(
        name={"type": ["string", "null"], "description": "null for a free range"}, since=moment,
        until={**moment, "description": "not included"},
        before={**moment, "description": "where the period begins that it is compared with"}, before_until=moment,
        tz={"type": "string"},
    )  # fmt: skip


def _object(needed: Sequence[str] | None = None, /, **properties: Json) -> Json:
    found: Json = {"type": "object", "properties": properties}
    needed = list(properties) if needed is None else list(needed)
    return {**found, "required": needed} if needed else found


def _list_of(name: str) -> Json:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


def _unit(column: Column) -> Json:
    return UNITS[column.unit][1]


# --- as files -----------------------------------------------------------------------------------------------------


def documents(about: Json) -> Mapping[str, PageFile]:
    """The document at /openapi.json, and at /api for people."""
    return {
        "/openapi.json": _file("application/json", orjson.dumps(about, option=orjson.OPT_INDENT_2)),
        "/api": _file("text/html; charset=utf-8", page(about).encode()),
    }


def _file(media_type: str, content: bytes) -> PageFile:
    return PageFile(media_type, content, hashlib.sha256(content).hexdigest()[:32], for_ever=False)


def page(about: Json) -> str:
    """The document as HTML without a script."""
    parts = []
    for path, operations in about["paths"].items():
        for method, operation in operations.items():
            parts.append(_section(about, method.upper(), path, operation))
    info = about["info"]
    names = "".join(
        f'<li><a href="#{_text(operation["operationId"])}"><code>{method.upper()} {_text(path)}</code></a></li>'
        for path, operations in about["paths"].items()
        for method, operation in operations.items()
    )
    units = _rows((f"<code>{_text(unit)}</code>", _marked(meaning)) for unit, (meaning, _) in UNITS.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_text(info["title"])}: API</title><link rel="stylesheet" href="{STYLE}"></head><body><main>'
        f"<h1>{_text(info['title'])}: API</h1><p>Version {_text(info['version'])}. {_marked(info['description'])}"
        ' For programs: <a href="/openapi.json">openapi.json</a>. <a href="/">Dashboard</a>.</p>'
        f"<nav><ul>{names}</ul></nav>{''.join(parts)}"
        f"<section><h2>Units</h2><table><tbody>{units}</tbody></table></section></main></body></html>\n"
    )


def _section(about: Json, method: str, path: str, operation: Json) -> str:
    parameters = []
    for entry in operation.get("parameters", []):
        one = _resolved(about, entry)
        schema = one["schema"]
        value = schema.get("items", schema)
        choices = ", ".join(map(str, value.get("enum", value.get("examples", []))))
        many = ", may be repeated" if schema["type"] == "array" else ""
        default = f"; default {value['default']}" if "default" in value else ""
        parameters.append(
            (f"<code>{_text(one['name'])}</code>", _marked(one["description"] + many + default), _text(choices))
        )
    answers = [
        (_text(status), _marked(_resolved(about, answer)["description"]))
        for status, answer in operation["responses"].items()
    ]
    head = "<tr><th scope=col>parameter</th><th scope=col>meaning</th><th scope=col>values</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{_rows(parameters)}</tbody></table>" if parameters else ""
    described = "".join(f"<p>{_marked(text)}</p>" for text in operation.get("description", "").split("\n\n") if text)
    return (
        f'<section id="{_text(operation["operationId"])}"><h2><code>{method} {_text(path)}</code></h2>'
        f"<p>{_marked(operation['summary'])}</p>{described}{table}"
        f"<table><thead><tr><th scope=col>status</th><th scope=col>answer</th></tr></thead><tbody>{_rows(answers)}</tbody>"
        "</table></section>"
    )


def _resolved(about: Json, entry: Json) -> Json:
    if "$ref" not in entry:
        return entry
    found: Any = about
    for step in entry["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)


def _text(value: str) -> str:
    return html.escape(value)


def _marked(value: str) -> str:
    """Text in which `code` is marked."""
    return "".join(
        f"<code>{_text(part)}</code>" if number % 2 else _text(part) for number, part in enumerate(value.split("`"))
    )
