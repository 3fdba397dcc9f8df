"""Counts what one image costs over NiFi's bridge: calls between NiFi and Python, step by step.

    python -m benchmarks.nifi.round_trips

Counted on the processors themselves, with objects that count what is asked of them. What NiFi adds to each call is from
its code (2.9): the call, the relationship, the attributes (three look-ups of java.util.HashMap, its constructor and a put for
each attribute), the contents, the release. `imagewarehouse/nifi/bridge.py` makes the attributes one call, and reads a content
over 6 KB with six small calls instead of one large one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.nifi.pictures import photograph
from imagewarehouse.nifi.packages import Packed, write_package
from imagewarehouse.nifi.processors import processor_class

STEPS = ("FilterImageRequest", "EnrichImageMetadata", "StoreImage", "ClassifyImage", "PutKuduRecord", "PutSolrDocument")
_FIXED = 4  # transform, getRelationship, getContents, free
_SMALL = 6_000


@dataclass(slots=True)
class Counting:
    """A FlowFile that counts."""

    content: bytes
    attributes: Mapping[str, str]
    calls: int = 0
    read: int = 0

    def getAttribute(self, name: str) -> str | None:
        self.calls += 1
        return self.attributes.get(name)

    def getAttributes(self) -> dict[str, str]:
        self.calls += 1
        return dict(self.attributes)

    def getSize(self) -> int:
        self.calls += 1
        return len(self.content)

    def getContentsAsBytes(self) -> bytes:
        self.calls += 1
        self.read += len(self.content)
        return self.content


def count(images: int, packages: bool, size: str) -> list[tuple[str, float, float]]:
    """(step, calls an image, bytes read an image) for `images` images in one package, or one alone."""
    from nifiapi.properties import ProcessContext, PythonPropertyValue

    listened = {
        "http.context.identifier": "c", "http.method": "POST", "http.remote.addr": "127.0.0.1", "mime.type": "image/jpeg",
        "http.headers.Content-Type": "image/jpeg", "filename": "x", "uuid": "x",
    }  # fmt: skip
    picture = photograph(size)
    content = write_package(Packed(listened, picture) for _ in range(images)) if packages else picture
    attributes: dict[str, str] = {} if packages else dict(listened)
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        places = {"Store URI": f"{temporary}/objects", "Local Database": f"{temporary}/rows.duckdb"}
        for step in STEPS:
            processor = processor_class(step)()
            set_ = places | {"FlowFile Packages": str(packages).lower()}
            values = {d.name: set_.get(d.name, d.defaultValue) for d in processor.getPropertyDescriptors()}
            context = ProcessContext(step, {name: PythonPropertyValue(value) for name, value in values.items()})
            flow_file = Counting(content, attributes)
            result = processor.transform(context, flow_file)
            given = result.getAttributes() or {}
            calls = flow_file.calls + _FIXED
            if packages:
                calls += -(-len(given) // 10) if given else 0
                calls += 5 if flow_file.read > _SMALL else 0
            else:
                calls += 5 + len(given) if given else 1
            found.append((step, calls / images, flow_file.read / images))
            attributes, content = {**attributes, **given}, result.getContents() or content
            if hasattr(processor, "onStopped"):
                processor.onStopped(context)
    return found


def main() -> None:
    processor_class(STEPS[0])  # puts nifiapi on the path
    columns: list[tuple[str, list[tuple[str, float, float]]]] = [
        ("alone, as NiFi has it", count(1, False, "3 KB")),
        ("package of 1", count(1, True, "3 KB")),
        ("package of 16", count(16, True, "3 KB")),
        ("package of 64", count(64, True, "3 KB")),
    ]
    print(f"{'calls an image':<22}" + "".join(f"{name:>24}" for name, _ in columns))
    for number, step in enumerate(STEPS):
        print(f"{step:<22}" + "".join(f"{rows[number][1]:24.1f}" for _, rows in columns))
    totals: list[Any] = [sum(row[1] for row in rows) for _, rows in columns]
    print(f"{'sum':<22}" + "".join(f"{total:24.1f}" for total in totals))


if __name__ == "__main__":
    main()
