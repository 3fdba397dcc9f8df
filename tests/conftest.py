"""What several test files share."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from imagewarehouse.flows.definition import Component, Retry
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import COLUMNS, ImageRecord
from imagewarehouse.nifi.adapter import now
from imagewarehouse.nifi.codec import read_event
from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.resources import PROCESSORS, REPOSITORY
from imagewarehouse.standalone.flowfile import FlowFile, InputFlowFile, Ticket
from imagewarehouse.standalone.local_kudu import DISTRIBUTION, HOW_TO_FETCH, LocalKudu
from imagewarehouse.standalone.python_host import PythonProcessor
from tests.object_services import (  # noqa: F401 - fixtures
    azure,
    azure_service,
    gcs,
    gcs_service,
    hbase,
    hbase_service,
    hdfs,
    hdfs_service,
    s3,
    s3_service,
)
from tests.solr_service import solr, solr_cloud, solr_guarded, solr_service, solr_sharded  # noqa: F401

# A failed assert in them shows its values as one in a test does.
pytest.register_assert_rewrite(
    "tests.http_server",
    "tests.kudu_clients",
    "tests.kudu_faults",
    "tests.kudu_processor",
    "tests.row_processes",
    "tests.superset_charts",
)

# The machines that run this are busy: how long one example takes says nothing.
settings.register_profile("imagewarehouse", deadline=None)
settings.load_profile("imagewarehouse")


def until(condition: Callable[[], bool], seconds: float = 10.0, every: float = 0.002) -> bool:
    """Whether it came true in time. `every`: longer where looking costs the machine something."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The CIFAR-10 files beside the checkout; they are too large for the repository."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"needs the CIFAR-10 files, and there is no {path}")
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """A picture of one colour as a file."""

    def make(image_format: str = "PNG", colour: str = "red", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", size, colour).save(file, image_format, **options)
        return file.getvalue()

    return make


@pytest.fixture
def record() -> Callable[..., ImageRecord]:
    """A record as it is born: a fresh key, accepted, and whatever else is given."""

    def make(**values: Any) -> ImageRecord:
        request_id = new_request_id(now())
        return ImageRecord(
            **{"event_time": event_time(request_id), "request_id": request_id, "status": "accepted", **values}
        )

    return make


# --- processors ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=sorted(path.stem for path in PROCESSORS.glob("*.py")))
def processor_type(request: pytest.FixtureRequest) -> str:
    """Each processor's type in turn."""
    name: str = request.param
    processor_class(name)  # puts the stand-in nifiapi on the path
    return name


@pytest.fixture(scope="session")
def component() -> Callable[..., Component]:
    """A component of a flow; what is not given is as NiFi has it on a fresh processor."""

    def make(identifier: str, kind: str = "PROCESSOR", **values: Any) -> Component:
        given = {
            "identifier": identifier,
            "name": identifier,
            "kind": kind,
            "type": identifier,
            "bundle": ("org.apache.nifi", "python-extensions", "0.1.0"),
            "group": (),
            "properties": {},
            "sensitive": frozenset(),
            "auto_terminated": frozenset({"original"}),
            "tasks": 1,
            "penalty_s": 30.0,
            "yield_s": 1.0,
            "retry": Retry(0, frozenset(), 600.0, True),
            "enabled": True,
        }
        return Component(**{**given, **values})

    return make


@dataclass(frozen=True, slots=True)
class Left:
    """How a FlowFile left a processor: `set` is what the processor itself put into the attributes."""

    relationship: str
    attributes: Mapping[str, str]
    content: bytes | None
    set: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Hosted:
    """A processor with its settings, and the strictness of the host around it."""

    host: PythonProcessor

    @property
    def processor(self) -> Any:
        return self.host.processor

    def transform(
        self, content: bytes | None = b"", attributes: Mapping[str, str] | None = None, size: int | None = None
    ) -> Left:
        """One FlowFile through `transform`; what that raises comes through, as it would be a defect."""
        flow_file = FlowFile(attributes or {}, content, len(content or b"") if size is None else size, Ticket())
        result = self.processor.transform(self.host.context, InputFlowFile(flow_file))
        relationship = result.getRelationship()
        assert relationship in self.host.relationships - {"original"}, f"{relationship} is not declared"
        left = flow_file.updated(
            result.getAttributes(), None if relationship == "failure" else result.getContents()
        )  # NiFi ignores the content on failure
        return Left(relationship, left.attributes, left.content, result.getAttributes() or {})


@pytest.fixture
def hosted(component: Callable[..., Component]) -> Iterator[Callable[..., Hosted]]:
    """Builds a processor by the standalone host, not scheduled: a respawned NiFi process does not schedule either."""
    hosts: list[PythonProcessor] = []

    def build(type_name: str, properties: Mapping[str, str | None] | None = None) -> Hosted:
        hosts.append(PythonProcessor(component(type_name, properties=properties or {}), {}))
        return Hosted(hosts[-1])

    yield build
    for host in hosts:
        host.stop()


# --- models -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tflite() -> Callable[..., bytes]:
    """A LiteRT model made by hand, so that no TensorFlow is needed: the mean of each colour, as logits or softmax."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def filled(kind: str, **values: Any) -> Any:
        made = getattr(schema, kind + "T")()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    def make(size: int = 8, softmax: bool = False, input_type: str = "FLOAT32") -> bytes:
        image_type = getattr(schema.TensorType, input_type)
        tensors = [
            filled("Tensor", name="image", shape=[1, size, size, 3], type=image_type),
            filled("Tensor", name="axes", shape=[2], type=schema.TensorType.INT32, buffer=1),
            filled("Tensor", name="mean", shape=[1, 3], type=image_type),
        ]
        steps = [("MEAN", "ReducerOptions", {}, [0, 1])]
        if softmax:
            tensors.append(filled("Tensor", name="softmax", shape=[1, 3], type=image_type))
            steps.append(("SOFTMAX", "SoftmaxOptions", {"beta": 1.0}, [2]))
        codes, operators = [], []
        for number, (name, options, values, inputs) in enumerate(steps):
            code = getattr(schema.BuiltinOperator, name)
            codes.append(filled("OperatorCode", builtinCode=code, deprecatedBuiltinCode=code, version=1))
            operators.append(
                filled(
                    "Operator",
                    opcodeIndex=number,
                    inputs=inputs,
                    outputs=[2 + number],
                    builtinOptionsType=getattr(schema.BuiltinOptions, options),
                    builtinOptions=filled(options, **values),
                )
            )
        graph = filled(
            "SubGraph", name="main", tensors=tensors, inputs=[0], outputs=[len(tensors) - 1], operators=operators
        )
        axes = filled("Buffer", data=np.array([1, 2], np.int32).view(np.uint8))
        model = filled(
            "Model", version=3, operatorCodes=codes, subgraphs=[graph], buffers=[filled("Buffer"), axes], description=""
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    return make


@pytest.fixture(scope="session")
def write_model() -> Callable[..., Path]:
    """Writes a version folder; `manifest` replaces keys of the manifest, None leaves the key out."""

    def write(folder: Path, runtimes: Mapping[str, tuple[str, bytes]], labels: str = "red\ngreen\nblue\n",
              **manifest: Any) -> Path:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        files = {"labels.txt": labels.encode(), **dict(runtimes.values())}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        values = {
            "name": "colours",
            "version": folder.name,
            "input": {"height": 8, "width": 8},
            "output": "logits",
            "labels": "labels.txt",
            "runtimes": {runtime: name for runtime, (name, _) in runtimes.items()},
            "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            **manifest,
        }
        given = {name: value for name, value in values.items() if value is not None}
        (folder / "manifest.json").write_text(json.dumps(given), encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def colour_model(
    tmp_path_factory: pytest.TempPathFactory, tflite: Callable[..., bytes], write_model: Callable[..., Path]
) -> Path:
    """A model that names the strongest colour, one version of it."""
    model = tmp_path_factory.mktemp("colours")
    write_model(model / "1", {"litert": ("model.tflite", tflite())}, temperature=0.1)
    return model


def needs_kudu_servers() -> None:
    """Skips where there are none, and fails where they have only not been fetched."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("Kudu's servers exist for Linux x86_64 only")
    if not (DISTRIBUTION / "bin" / "kudu-master").is_file():
        pytest.fail(f"Kudu's servers are not here; run `{HOW_TO_FETCH}`", pytrace=False)


@pytest.fixture(scope="session")
def kudu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKudu]:
    """A real Kudu for the whole run; whoever kills or pauses a server of it brings it back."""
    needs_kudu_servers()
    with LocalKudu(tmp_path_factory.mktemp("kudu"), never_fsync=True) as running:
        yield running


# --- records ------------------------------------------------------------------------------------------------------


def record_from_attributes(attributes: Mapping[str, str]) -> ImageRecord:
    """The record that text attributes stand for, as the codec and the last step read them. Raises RowRejected."""
    event, unreadable = read_event(attributes.get, [column.name for column in COLUMNS])
    if unreadable is not None:
        raise unreadable
    total_ms = attributes.get("total_ms")
    return event.record(total_ms=float(total_ms) if total_ms else None, node=attributes.get("node") or None)
