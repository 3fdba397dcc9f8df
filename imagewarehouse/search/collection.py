"""The Solr collection that searches go to: made from the configset that comes with the code, and held against it."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from imagewarehouse.errors import ConfigurationError, SolrCollectionMissing, SolrRefused
from imagewarehouse.resources import CONFIGSET
from imagewarehouse.search.documents import moment_of
from imagewarehouse.solr.client import Collection, Solr

CONFIGSET_NAME = "image-warehouse"


@dataclass(frozen=True, slots=True)
class Schema:
    """`fields`: the type of each, dynamic ones by their pattern. `types`: what each type says, without its analysis: where that
    changes, so does the name."""

    name: str
    fields: Mapping[str, str]
    types: Mapping[str, Mapping[str, str]]

    @classmethod
    def shipped(cls, folder: Path = CONFIGSET) -> Schema:
        root = ET.parse(folder / "schema.xml").getroot()  # noqa: S314 # a file of ours
        fields = {
            each.attrib["name"]: each.attrib["type"] for each in (*root.iter("field"), *root.iter("dynamicField"))
        }
        types = {each.attrib["name"]: dict(each.attrib) for each in root.iter("fieldType")}
        return cls(root.attrib["name"], fields, types)

    @classmethod
    def of(cls, collection: Collection) -> Schema:
        """Raises SolrUnavailable, SolrRefused."""
        found = collection.look("schema")["schema"]
        fields = {each["name"]: each["type"] for each in (*found["fields"], *found.get("dynamicFields", ()))}
        types = {
            each["name"]: {name: _text(value) for name, value in each.items() if not isinstance(value, dict)}
            for each in found["fieldTypes"]
        }
        return cls(found["name"], fields, types)

    def lacks(self, other: Schema) -> list[str]:
        """What is in the other one and not here, or differs, a line each."""
        lines = [] if self.name == other.name else [f"schema {self.name}, expected {other.name}"]
        for name, type_name in other.fields.items():
            known = self.fields.get(name)
            if known is None:
                lines.append(f"field {name} is missing")
            elif known != type_name:
                lines.append(f"field {name} has type {known}, expected {type_name}")
        for name, attributes in other.types.items():
            if name in self.types:
                lines += [
                    f"type {name} has {attribute}={self.types[name].get(attribute)}, expected {value}"
                    for attribute, value in attributes.items()
                    if self.types[name].get(attribute) != value
                ]
        return lines


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a collection. `bytes`: on disk, of one copy of each shard; None: Solr does not say it."""

    name: str
    cloud: bool
    version: str
    documents: int
    with_embedding: int
    bytes: int | None
    oldest: datetime | None
    newest: datetime | None
    differences: list[str] = field(default_factory=list)


class Installation:
    """One collection of one Solr, there or not. Every method raises SolrUnavailable, SolrRefused."""

    def __init__(self, solr: Solr, name: str = "") -> None:
        """Raises ConfigurationError: it has no name."""
        self.solr = solr
        self.collection = solr.collection(name)
        self.name = self.collection.name
        system = solr.admin("info/system")
        self.cloud = system.get("mode") == "solrcloud"
        self.version = str(system.get("lucene", {}).get("solr-spec-version", ""))
        self.home = str(system.get("solr_home", ""))

    def exists(self) -> bool:
        if self.cloud:
            return self.name in self.solr.admin("collections", action="LIST")["collections"]
        return bool(self.solr.admin("cores", action="STATUS", core=self.name)["status"].get(self.name))

    def create(self, configset: str, shards: int, replicas: int) -> None:
        """Make it. Raises ConfigurationError: a single node does not have the configset, which no request can bring there."""
        if self.cloud:
            if configset not in self.solr.admin("configs", action="LIST")["configSets"]:
                self._upload(configset)
            self.solr.admin(
                "collections", action="CREATE", name=self.name, numShards=shards, replicationFactor=replicas,
                **{"collection.configName": configset},
            )  # fmt: skip
            return
        if shards != 1 or replicas != 1:
            raise ConfigurationError("--shards", "and --replicas are for SolrCloud; this is a single node")
        try:
            self.solr.admin("cores", action="CREATE", name=self.name, configSet=configset)
        except SolrRefused as err:
            if "configset" not in str(err).lower() and "config" not in str(err).lower():
                raise
            raise ConfigurationError("--solr", f"{self.how_to_copy(configset)} Solr says: {err}") from err

    def update_schema(self, configset: str) -> None:
        """Bring the configset up to date and load it again. A single node loads what was copied to it."""
        if self.cloud:
            self._upload(configset, overwrite="true", cleanup="true")
            self.solr.admin("collections", action="RELOAD", name=self.name)
        else:
            self.solr.admin("cores", action="RELOAD", core=self.name)

    def how_to_copy(self, configset: str) -> str:
        """What an operator of a single node has to do first, as a sentence."""
        return (
            f"no request can bring a configset to a single node: copy the folder {CONFIGSET} to"
            f" {self.home or 'SOLR_HOME'}/configsets/{configset}/conf on its machine, and run this again."
        )

    def differences(self) -> list[str]:
        return Schema.of(self.collection).lacks(Schema.shipped())

    def count(self, query: str = "*:*") -> int:
        """Documents that are found. `query`: never anything that somebody typed."""
        found = self.collection.ask("select", {"query": query, "limit": 0})
        count: int = found["response"]["numFound"]
        return count

    def commit(self) -> None:
        """What was written is found, and on disk."""
        self.collection.look("update", commit="true")

    def facts(self) -> Facts:
        """Raises SolrCollectionMissing as well."""
        if not self.exists():
            raise SolrCollectionMissing(
                f"there is no collection {self.name}: make it with `imagewarehouse index create`"
            )
        differences = self.differences()
        ours = not any(line.startswith("field event_us") for line in differences)
        return Facts(
            self.name,
            self.cloud,
            self.version,
            self.count(),
            self.count("embedding_width:[1 TO *]") if ours else 0,
            self._bytes(),
            self._end("asc") if ours else None,
            self._end("desc") if ours else None,
            differences,
        )

    def _end(self, order: str) -> datetime | None:
        found = self.collection.ask(
            "select", {"query": "*:*", "sort": f"event_us {order}", "limit": 1, "fields": "event_us"}
        )
        documents = found["response"]["docs"]
        return moment_of(documents[0]["event_us"]) if documents else None

    def _bytes(self) -> int | None:
        """From the node that answers; in a cloud it may have some of the shards only."""
        if self.cloud:
            status = self.solr.admin("collections", action="COLSTATUS", collection=self.name, segments="true")
            sizes = [_segment_bytes(shard) for shard in status.get(self.name, {}).get("shards", {}).values()]
            return sum(sizes) if sizes else None
        status = self.solr.admin("cores", action="STATUS", core=self.name)["status"].get(self.name, {})
        size = status.get("index", {}).get("sizeInBytes")
        return int(size) if size is not None else None

    def _upload(self, configset: str, **params: str) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(CONFIGSET.iterdir()):
                archive.write(path, path.name)
        self.solr.admin("configs", packed.getvalue(), action="UPLOAD", name=configset, **params)


def _segment_bytes(shard: Mapping[str, Any]) -> int:
    segments = shard.get("leader", {}).get("segInfos", {}).get("segments", {})
    return sum(int(each.get("sizeInBytes", 0)) for each in segments.values())


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
