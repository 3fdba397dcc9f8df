"""Writes what lies beside this file, with the code of an older commit. README.md says how it is called."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flows.definition import Component, Retry  # all imports are those of the older commit
from imagewarehouse.kudu.client import KuduSettings, connect
from imagewarehouse.packages import read_package
from PIL import Image
from standalone.flowfile import FlowFile, InputFlowFile, Ticket
from standalone.local_kudu import LocalKudu
from standalone.python_host import PythonProcessor

from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import to_text
from tests.running import free_ports, post
from tests.test_batches import awaited, listened, package

CHECKOUT = Path.cwd()
HERE = Path(__file__).resolve().parent
PLACE = Path("/srv/warehouse")  # it stands in every storage_uri
NODE = "warehouse"  # and this in every row
STEPS = ("FilterImageRequest", "EnrichImageMetadata", "StoreImage", "ClassifyImage", "PutKuduRecord")
_COLUMN = re.compile(
    r" +(?P<name>\w+) (?P<type>\w+) (?P<null>NOT NULL|NULLABLE) (?P<encoding>\w+) (?P<compression>\w+) - - (?P<comment>.*),"
)
_RANGE = re.compile(r" +PARTITION (\S+) <= VALUES < (\S+?),?")
_COMMAND = f"import socket; socket.gethostname = lambda: {NODE!r}; from cli.main import main; main()"


def picture(number: int, image_format: str = "PNG") -> bytes:
    """One of its own for each number, with a colour that is the strongest."""
    colour = [20 + number, 10, 10]
    colour.insert(0, colour.pop(number % 3))
    image = Image.new("RGB", (8, 8), (colour[0], colour[1], colour[2]))
    image.putpixel((number % 8, 0), (255, 255, 255))
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def key() -> str:
    return new_request_id(datetime.now(timezone.utc))


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.1)


# --- the data folder of `imagewarehouse run` ----------------------------------------------------------------------


class Running:
    def __init__(self) -> None:
        images, classify = free_ports(2)
        ports = [f"http.images.port={images}", f"http.classify.port={classify}"]
        arguments = ["run", "--data", str(PLACE), *(text for one in ports for text in ("--set", one))]
        self.images, self.classify = f"http://127.0.0.1:{images}/images", f"http://127.0.0.1:{classify}/classify"
        self.process = subprocess.Popen([sys.executable, "-c", _COMMAND, *arguments], cwd=CHECKOUT)
        eventually(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return post(self.classify.replace("classify", "health"), b"", method="GET").status == 200
        except OSError:
            return False

    def send(self, url: str, name: str, content: bytes, **headers: str) -> Any:
        sent = {"Content-Type": "image/jpeg", "Content-Disposition": f'attachment; filename="{name}"', **headers}
        answer = post(url, content, sent)
        return answer.status, answer.json()


def journalled() -> int:
    with closing(sqlite3.connect(PLACE / "journal.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])


def data_folder() -> None:
    """A run that was stopped, and one that was killed while its store was away."""
    examples = {path.name: path.read_bytes() for path in sorted((CHECKOUT / "examples").glob("*.jpg"))}
    shutil.rmtree(PLACE, ignore_errors=True)
    first = Running()
    for name in ("airplane.jpg", "automobile.jpg", "bird.jpg"):
        assert first.send(first.classify, name, examples[name])[0] == 200
    assert first.send(first.images, "cat.jpg", examples["cat.jpg"])[0] == 202
    assert first.send(first.classify, "frog.jpg", examples["frog.jpg"], **{"Idempotency-Key": key()})[0] == 200
    assert first.send(first.classify, "letter.jpg", b"Dear Sir or Madam")[0] == 415
    assert first.send(first.classify, "cut.jpg", examples["dog.jpg"][:300])[0] == 422
    eventually(lambda: journalled() == 0)
    first.process.terminate()
    first.process.wait(60)

    second = Running()
    assert second.send(second.classify, "deer.jpg", examples["deer.jpg"])[0] == 200
    (PLACE / "objects").rename(PLACE / "away")
    (PLACE / "objects").write_text("in the way")
    assert second.send(second.classify, "dog.jpg", examples["dog.jpg"])[0] == 503  # a row with the status failed
    unfinished = [second.send(second.images, name, examples[name]) for name in ("horse.jpg", "ship.jpg", "truck.jpg")]
    unfinished.append(second.send(second.images, "a frog again.jpg", examples["frog.jpg"]))
    unfinished.append(second.send(second.images, "ship.jpg", examples["ship.jpg"], **{"Idempotency-Key": key()}))
    assert [status for status, _ in unfinished] == [202] * 5
    time.sleep(2)
    second.process.kill()
    second.process.wait()
    (PLACE / "objects").unlink()
    (PLACE / "away").rename(PLACE / "objects")
    target = HERE / "data"
    shutil.rmtree(target, ignore_errors=True)
    # What a restart makes again: the lock, the socket, and SQLite's index of its log.
    shutil.copytree(PLACE, target, ignore=shutil.ignore_patterns("lock", "control.sock", "*-shm"))


# --- FlowFiles as they lie between two steps ----------------------------------------------------------------------


def component(name: str, properties: Mapping[str, str]) -> Component:
    return Component(name, name, "PROCESSOR", name, ("org.apache.nifi", "python-extensions", "0.1.0"), (), properties,
                     frozenset(), frozenset({"original"}), 1, 30.0, 1.0, Retry(0, frozenset(), 600.0, True), True)  # fmt: skip


def travel(
    folder: Path, content: bytes, attributes: Mapping[str, str], packages: bool, keys: str, contents: dict[str, str]
) -> dict[str, Any]:
    """How a FlowFile left each of the steps, and the rows of it."""

    def text(data: bytes | None) -> str | None:
        if data is None:
            return None
        name = hashlib.sha256(data).hexdigest()[:12]
        contents[name] = base64.b64encode(data).decode()
        return name

    settings = {
        "FilterImageRequest": {"Access Keys": keys},
        "EnrichImageMetadata": {},
        "StoreImage": {"Store URI": str(PLACE / "objects")},
        "ClassifyImage": {"Model Folder": str(HERE / "model")},
        "PutKuduRecord": {"Local Database": str(folder / "rows.duckdb")},
    }
    own = {"FlowFile Packages": str(packages).lower()}
    hosts = {name: PythonProcessor(component(name, {**settings[name], **own}), {}) for name in STEPS}
    flow_file = FlowFile(attributes, content, len(content), Ticket())
    passed = [{"step": "", "way": "success", "attributes": dict(attributes), "content": text(content)}]
    for number, (name, host) in enumerate(hosts.items()):
        if number > 1 and passed[-1]["way"] == "rejected" and name != STEPS[-1]:
            continue  # the flow takes it to the last step
        result = host.processor.transform(host.context, InputFlowFile(flow_file))
        way = result.getRelationship()
        flow_file = flow_file.updated(result.getAttributes(), None if way == "failure" else result.getContents())
        left = {"step": name, "way": way, "attributes": flow_file.attributes, "content": text(flow_file.content)}
        passed.append({**left, "attributes": dict(flow_file.attributes)})
    rows = hosts["PutKuduRecord"].processor.rows.get(hosts["PutKuduRecord"].context).images.store
    found = rows.query("SELECT * FROM image_events ORDER BY request_id").to_pylist()
    for host in hosts.values():
        host.stop()
    return {"packages": packages, "passed": passed, "rows": [plain(row) for row in found]}


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_text(value) if isinstance(value, datetime) else value for name, value in row.items()}


def sent(
    listener: Callable[..., dict[str, str]], numbers: range, **more: str
) -> Iterator[tuple[dict[str, str], bytes]]:
    header = "http.headers.Content-Disposition" if listener is awaited else "Content-Disposition"
    for number in numbers:
        disposition = f'attachment; filename="{number}.png"'
        yield listener(**{header: disposition, **more}), picture(number)


def flow_files() -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    # In this folder the store can write nothing: the image is recorded as failed, its client told so.
    failing = picture(63)
    (PLACE / "objects").mkdir(parents=True)
    (PLACE / "objects" / hashlib.sha256(failing).hexdigest()[:2]).write_text("in the way")
    body = json.dumps({"image": base64.b64encode(picture(40)).decode(), "file_name": "40.png"}).encode()
    access = {"http.headers.X-Access-Key": "0123456789abcdef"}
    bad = (b"no image at all", picture(41)[:60])
    packages: dict[str, tuple[list[tuple[dict[str, str], bytes]], bool, str]] = {
        "listened one": (list(sent(listened, range(1))), True, ""),
        "listened one rejected": ([(listened(), bad[0])], True, ""),
        "listened many": (
            [
                *sent(listened, range(1, 20)),
                *((listened(), content) for content in bad),
                *sent(listened, range(20, 21), **{"Idempotency-Key": key()}),
            ],
            True,
            "",
        ),
        "awaited one": (list(sent(awaited, range(21, 22))), True, ""),
        "awaited many": (
            [
                *sent(awaited, range(22, 40), **access),
                (awaited("application/json", **access), body),
                *((awaited(**access), content) for content in bad),
                (awaited(), picture(42)),  # without a key
                *sent(awaited, range(63, 64), **access),
            ],
            True,
            "alice:0123456789abcdef",
        ),
        "listened single": (list(sent(listened, range(43, 44))), False, ""),
        "awaited single": (list(sent(awaited, range(44, 45))), False, ""),
    }
    contents: dict[str, str] = {}
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, (requests, together, keys)) in enumerate(packages.items()):
            attributes, content = requests[0]
            if together:
                content, attributes = package(requests)
                assert len(read_package(content)) == len(requests)
            found[name] = travel(Path(temporary) / str(number), content, attributes, together, keys, contents)
            found[name]["keys"] = keys
    write("flowfiles.json", {"commit": commit(), "cases": found, "contents": contents})


# --- the table of Kudu --------------------------------------------------------------------------------------------


def kudu_table() -> None:
    moment = datetime.now(timezone.utc)
    records = []
    for number, status in enumerate(["classified", "classified", "rejected", "failed"]):
        request_id = new_request_id(moment)
        attributes = {"request_id": request_id, "event_time": to_text(event_time(request_id)), "status": status,
                      "file_name": f"ümlaut {number}.png", "size_bytes": "75", "source_ip": "203.0.113.9"}  # fmt: skip
        if status == "classified":
            top_k = '[{"class": "frog", "probability": 0.75}, {"class": "cat", "probability": 0.25}]'
            attributes |= {"predicted_class": "frog", "confidence": "0.75", "top_k": top_k, "model_name": "cifar10",
                           "model_version": "3", "width": "8", "height": "8", "format": "PNG",
                           "gps_latitude": "-33.5", "gps_longitude": "151.25"}  # fmt: skip
        else:
            code = "objects.unavailable" if status == "failed" else "image.not_an_image"
            attributes |= {"error_code": code, "error_detail": f"the reason of a {status} one"}
        records.append(attributes)
    with tempfile.TemporaryDirectory() as folder, LocalKudu(Path(folder), never_fsync=True) as kudu:
        host = PythonProcessor(component("PutKuduRecord", {"Kudu Masters": kudu.masters}), {})
        for attributes in records:
            flow_file = FlowFile(attributes, b"the image", 9, Ticket())
            result = host.processor.transform(host.context, InputFlowFile(flow_file))
            assert result.getRelationship() == "success"
        described = kudu.cli(
            "table", "describe", kudu.masters, "image_events", "-show_attributes", "-show_column_comment"
        )
        lines = [line for line in described.splitlines() if not line.startswith("OWNER")]
        writer = connect(KuduSettings(kudu.masters))
        rows = sorted(writer.scan("image_events").to_pylist(), key=lambda row: row["request_id"])
        host.stop()
        writer.close()
    found = [plain(row) for row in rows]
    write("kudu.json", {"commit": commit(), "create": declaration(lines), "described": lines, "rows": found})


def declaration(described: list[str]) -> dict[str, Any]:
    """What `kudu table create` is given to make that table once more, with nothing of ours in between."""
    columns, bounds = [], []
    for line in described:
        if found := _COLUMN.fullmatch(line):
            columns.append({
                "column_name": found["name"], "column_type": found["type"], "is_nullable": found["null"] == "NULLABLE",
                "encoding": found["encoding"], "compression": found["compression"], "comment": found["comment"],
            })  # fmt: skip
        elif found := _RANGE.fullmatch(line):
            lower, upper = (str(int(datetime.fromisoformat(found[n]).timestamp()) * 1_000_000) for n in (1, 2))
            bounds.append({
                "lower_bound": {"bound_type": "inclusive", "bound_values": [lower]},
                "upper_bound": {"bound_type": "exclusive", "bound_values": [upper]},
            })  # fmt: skip
    return {
        "table_name": "image_events",
        "schema": {"columns": columns, "key_column_names": ["event_time", "request_id"]},
        "partition": {
            "hash_partitions": [{"columns": ["request_id"], "num_buckets": 4}],
            "range_partition": {"columns": ["event_time"], "range_bounds": bounds},
        },
        "comment": described[-1].removeprefix("COMMENT "),
        "num_replicas": 1,
    }


# --- all of it ----------------------------------------------------------------------------------------------------


def commit() -> str:
    command = ["git", "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()


def write(name: str, value: object) -> None:
    (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def code() -> None:
    """What the NAR had of our code, as it lay there."""
    files = {path.name: path for path in (CHECKOUT / "processors").glob("*.py")}
    files |= {path.relative_to(CHECKOUT).as_posix(): path for path in (CHECKOUT / "imagewarehouse").rglob("*.py")}
    with zipfile.ZipFile(HERE / "code.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name, path in sorted(files.items()):
            target.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)


def model() -> None:
    """One that names the strongest colour: the tests of that commit have it."""
    from tests import conftest

    content = conftest.tflite.__wrapped__()()
    conftest.write_model.__wrapped__()(HERE / "model" / "1", {"litert": ("model.tflite", content)}, temperature=0.1)


if __name__ == "__main__":
    import socket

    socket.gethostname = lambda: NODE
    shutil.copyfile(CHECKOUT / "flows" / "image-warehouse.json", HERE / "image-warehouse.json")
    code()
    model()
    data_folder()
    flow_files()
    kudu_table()
    shutil.rmtree(PLACE)
