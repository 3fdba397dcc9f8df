"""The properties of PutSolrDocument as values of the core."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from imagewarehouse.contents import read_records
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.nifi import adapter
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.search.writing import IndexedRecords
from imagewarehouse.solr.answers import Refusal, accepted
from imagewarehouse.solr.delivery import Delivery, split_outcomes
from imagewarehouse.solr.mapping import DELETE, RECORD_OPERATIONS, VERSIONS, RecordMapping, map_records
from imagewarehouse.solr.settings import Params, SolrSettings, checked_name, checked_path, parse_address
from imagewarehouse.solr.values import OPERATIONS
from imagewarehouse.solr.writing import Writing, write

if TYPE_CHECKING:
    from imagewarehouse.solr.client import Solr

IMAGE_RECORD, ATTRIBUTES, CONTENT, COMMANDS = "image record", "attributes", "content", "commands"
CLOUD = "Cloud"
_PARAMETER = re.compile(r"[\w.:-]+")
_REPEATED = re.compile(r"\w+\.\d+")  # f.1, f.2...: a parameter several times, as in NiFi 1.x
_OURS = frozenset(
    {"wt", "omitHeader", "versions", "json.nl", "commit", "commitWithin", "stream.body", "stream.url", "stream.file"}
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A scheduled processor: `images` for image records, else `solr` alone."""

    solr: Solr
    images: GroupCommit[ImageRecord, None] | None = None
    parameters: tuple[str, ...] = ()  # names of the properties that are Solr's parameters

    def close(self) -> None:
        self.solr.close()

    def deliver(self, context: Any, flow_file: Any) -> Delivery:
        """Write what a FlowFile says. Raises every error that is not of a record."""

        def value(name: str, default: str = "") -> str:
            return adapter.evaluated(context, flow_file, name, default)

        collection = self.solr.collection(value("Collection"))
        source = adapter.text(context, "Record Source", IMAGE_RECORD)
        parameters = _parameters(self.parameters, value)
        how = _writing(context, value, parameters)
        if source == COMMANDS:
            content_type = value("Content-Type", "application/json")
            if not content_type.isprintable() or not content_type.isascii():
                raise ConfigurationError("Content-Type", f"is no type: {ascii(content_type)[:100]}")
            params = [*parameters, *_commits(how)]
            path = checked_path(value("Content Stream Path", "/update/json/docs"), "Content Stream Path")
            try:
                body = adapter.read_content(flow_file)
                accepted(
                    collection.post(path, body, content_type=content_type, params=params, repeatable=False),
                    collection.name,
                )
            except Refusal as err:
                raise err.error from err
            return Delivery(1)
        mapping = _mapping(context, value)
        if source == ATTRIBUTES:
            update = mapping.update(_attributes(context, flow_file.getAttributes(), mapping))
            (outcome,) = write(collection, [update], how)
            if outcome is not None:
                raise outcome
            return Delivery(1)
        records = read_records(adapter.read_content(flow_file), adapter.text(context, "Record Format", "auto"))
        mapped = map_records(records, mapping)
        return split_outcomes(records, mapped, write(collection, mapped.updates, how))


def open_solr(context: Any, declared: Collection[str]) -> Opened | None:
    """What the properties describe; None where there is no address. No node is asked. Raises ConfigurationError.

    Args: declared: the names of the processor's own properties; all others are parameters of Solr.
    """
    settings = check(context, declared)
    if settings is None:
        return None
    from imagewarehouse.solr.client import Solr  # with the libraries that it needs, which most installations do not

    solr = Solr(settings)
    if adapter.text(context, "Record Source", IMAGE_RECORD) != IMAGE_RECORD:
        return Opened(solr, parameters=parameter_names(context, declared))
    how = _writing(context, _constant(context), ())
    collection = solr.collection(adapter.text(context, "Collection"))
    return Opened(solr, GroupCommit(IndexedRecords(collection, how), max_weight=how.batch))


def check(context: Any, declared: Collection[str]) -> SolrSettings | None:
    """Read every property that does not depend on the FlowFile; None: the index is switched off. Raises ConfigurationError."""
    names = parameter_names(context, declared)
    settings = solr_settings(context)
    if settings is None:
        return None
    constant = _constant(context)
    collection = adapter.text(context, "Collection")
    source = adapter.text(context, "Record Source", IMAGE_RECORD)
    if not collection and not settings.address.collection:
        raise ConfigurationError("Collection", "is empty, and the address names none")
    if source == IMAGE_RECORD:
        if "${" in collection:
            raise ConfigurationError("Collection", "image records go to one; expressions are for the other sources")
        if names:
            raise ConfigurationError(names[0], "the processor has no such property, and image records no parameters")
    if constant("Collection"):
        checked_name(constant("Collection"), "Collection")
    for path in ("Solr Update Path", "Content Stream Path"):
        if constant(path):
            checked_path(constant(path), path)
    _writing(context, constant, ())
    _mapping(context, constant)
    if source == ATTRIBUTES and not adapter.text(context, "Fields To Index"):
        raise ConfigurationError("Fields To Index", "names the attributes that are fields, and is empty")
    return settings


def solr_settings(context: Any) -> SolrSettings | None:
    """None where there is no address. Raises ConfigurationError."""
    url, location = adapter.text(context, "Solr URL"), adapter.text(context, "Solr Location")
    if url and location:
        raise ConfigurationError("Solr Location", "there is a Solr URL, too; one of them")
    if not (url or location):
        return None
    cloud = bool(location) and adapter.text(context, "Solr Type", "Standard") == CLOUD
    return SolrSettings(
        parse_address(url or location, "Solr URL" if url else "Solr Location", cloud=cloud),
        user=adapter.text(context, "Basic Username"),
        password=_secret(context, "Basic Password"),
        ca_file=adapter.text(context, "Trusted Certificates"),
        certificate=adapter.text(context, "Client Certificate"),
        key=adapter.text(context, "Client Key"),
        kerberos=adapter.boolean(context, "Kerberos"),
        connect_s=adapter.seconds(context, "Solr Connection Timeout", 10.0) or None,
        answer_s=adapter.seconds(context, "Solr Socket Timeout", 10.0) or None,
        connections=adapter.integer(context, "Solr Maximum Connections Per Host", 5),
    )


def parameter_names(context: Any, declared: Collection[str]) -> tuple[str, ...]:
    """The properties that are parameters of Solr. Raises ConfigurationError: no parameter has such a name."""
    names = [str(getattr(each, "name", each)) for each in context.getProperties()]  # NiFi's keys are descriptors
    parameters = tuple(sorted(name for name in names if name not in declared))
    for name in parameters:
        if not _PARAMETER.fullmatch(name):
            raise ConfigurationError(name, "the processor has no such property, and Solr no parameter of that name")
        if name in _OURS:
            raise ConfigurationError(name, "is not for you to give: see docs/solr.md")
    return parameters


def _parameters(names: tuple[str, ...], value: Callable[[str], str]) -> Params:
    """Values of f.1, f.2... in the order of their numbers, all of them as f."""
    single = [(name, value(name)) for name in names if not _REPEATED.fullmatch(name)]
    numbered = [(*name.rsplit(".", 1), value(name)) for name in names if _REPEATED.fullmatch(name)]
    repeated = [(name, text) for name, _, text in sorted(numbered, key=lambda each: (each[0], int(each[1])))]
    return [(name, text) for name, text in (*single, *repeated) if text]


def _writing(context: Any, value: Callable[[str], str], parameters: Params) -> Writing:
    within = value("Commit Within")
    if within and not (within.isdecimal() and len(within) < 10 and int(within)):
        raise ConfigurationError("Commit Within", f"expected milliseconds, 1 or more, received {within[:40]!r}")
    batch = value("Batch Size") or "500"
    if not (batch.isdecimal() and 1 <= int(batch[:9]) <= 100_000 and len(batch) < 7):
        raise ConfigurationError("Batch Size", f"expected 1 to 100000, received {batch[:40]!r}")
    return Writing(
        path=checked_path(value("Solr Update Path") or "/update", "Solr Update Path"),
        commit_within_ms=int(within) if within else None,
        commit=adapter.boolean(context, "Hard Commit"),
        batch=int(batch),
        params=parameters,
    )


def _commits(how: Writing) -> Params:
    within = [("commitWithin", str(how.commit_within_ms))] if how.commit_within_ms is not None else []
    return [*within, ("wt", "json"), *([("commit", "true")] if how.commit else [])]


def _mapping(context: Any, value: Callable[[str], str]) -> RecordMapping:
    return _parsed_mapping(
        value("Operation").lower() or "add",
        adapter.text(context, "Id Field", "id"),
        adapter.text(context, "Field Mapping"),
        value("Fields To Index"),
        adapter.text(context, "Date Fields"),
        adapter.text(context, "Integer Timestamps", "millis"),
        adapter.text(context, "Nested Objects", "flatten") == "flatten",
        adapter.text(context, "Field Operations"),
        adapter.text(context, "Document Version", "overwrite"),
    )


@lru_cache(maxsize=64)
def _parsed_mapping(
    operation: str,
    id_field: str,
    fields: str,
    only: str,
    dates: str,
    unit: str,
    flatten: bool,
    changes: str,
    version: str,
) -> RecordMapping:
    if operation not in RECORD_OPERATIONS:
        raise ConfigurationError("Operation", f"expected one of {', '.join(RECORD_OPERATIONS)}, received {operation!r}")
    if version not in VERSIONS:
        raise ConfigurationError("Document Version", f"expected one of {', '.join(VERSIONS)}, received {version!r}")
    named = _texts("Field Operations", changes)
    for each in named.values():
        if each not in OPERATIONS:
            raise ConfigurationError("Field Operations", f"expected some of {', '.join(OPERATIONS)}, received {each!r}")
    return RecordMapping(
        operation,
        id_field,
        _texts("Field Mapping", fields),
        frozenset() if operation == DELETE else _names(only),
        _names(dates),
        unit,
        flatten,
        named,
        version,
    )


def _attributes(context: Any, attributes: Mapping[str, str], mapping: RecordMapping) -> dict[str, Any]:
    """The attributes that are fields; an empty one is none."""
    separator = adapter.text(context, "Value Separator")
    record: dict[str, Any] = {}
    for name, text in attributes.items():
        target = mapping.fields.get(name, name)
        if text and (target == mapping.id_field or target in mapping.only):
            parts = [part.strip() for part in text.split(separator)] if separator and target != mapping.id_field else []
            record[name] = parts if len(parts) > 1 else text
    return record


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _texts(setting: str, text: str) -> dict[str, str]:
    try:
        values = json.loads(text) if text else {}
    except ValueError as err:
        raise ConfigurationError(setting, f"is not JSON: {err}") from err
    if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
        raise ConfigurationError(setting, "expected a JSON object with a text for each field")
    return values


def _constant(context: Any) -> Callable[[str], str]:
    return lambda name: "" if "${" in adapter.text(context, name) else adapter.text(context, name)


def _secret(context: Any, name: str) -> str:
    """As it is: a password may begin or end with a blank."""
    value = context.getProperty(name)
    return str(value.getValue() or "") if value is not None else ""
