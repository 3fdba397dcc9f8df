"""The way out, `images.pass.on`: a flow beside ours takes images by their records and sends mails, as in docs/nifi.md."""

from __future__ import annotations

import concurrent.futures
import email
import email.policy
import hashlib
import re
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagewarehouse.resources import REPOSITORY
from tests.conftest import until
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_deploy import stop_processor
from tests.nifi.test_flow import JPEG, key, started, table
from tests.pictures import noise, numbered
from tests.running import post

__all__ = ["started"]  # a fixture

FROG = (REPOSITORY / "examples" / "frog.jpg").read_bytes()
SHIP = (REPOSITORY / "examples" / "ship.jpg").read_bytes()
RULES = {  # those of docs/nifi.md
    "frog": "${predicted_class:equals('frog'):and(${confidence:toDecimal():gt(0.9)})}",
    "without": "${status:in('rejected', 'failed')}",
    "doubtful": "${confidence:isEmpty():not():and(${confidence:toDecimal():lt(0.5)})}",
    "camera": "${source_user:equals('camera-7')}",
}
PNG = {"Content-Type": "image/png"}
STANDARD = "org.apache.nifi.processors.standard."
SENDER = {"X-Access-Key": "0123456789abcdef-secret"}


# --- a mail server ------------------------------------------------------------------------------------------------


class Mails(socketserver.ThreadingTCPServer):
    """Takes mails over SMTP."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails: list[EmailMessage] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: Mails

    def handle(self) -> None:
        self._say("220 here")
        for line in iter(self.rfile.readline, b""):
            command = line[:4].upper()
            if command == b"DATA":
                self._say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                content = b"".join(one[1:] if one.startswith(b"..") else one for one in lines)
                self.server.mails.append(email.message_from_bytes(content, policy=email.policy.default))  # type: ignore[arg-type]
            self._say("221 bye" if command == b"QUIT" else "250 fine")
            if command == b"QUIT":
                return

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mails() -> Iterator[Mails]:
    with Mails() as server:
        yield server
        server.shutdown()


# --- the canvas around the flow -----------------------------------------------------------------------------------


class Canvas:
    """What a user does beside the group Image Warehouse."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        found = self.get("/flow/process-groups/root")["processGroupFlow"]
        self.root = found["id"]
        [self.group] = [g["id"] for g in found["flow"]["processGroups"] if g["component"]["name"] == "Image Warehouse"]
        self._made: list[tuple[str, str]] = []

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.client.post(path, json={"revision": {"version": 0}, **body})
        assert answer.is_success, answer.text
        return answer.json()

    def put(self, kind: str, identifier: str, **body: Any) -> None:
        path = f"/{kind}/{identifier}"
        revision = self.get(path)["revision"]
        where = f"{path}/run-status" if "state" in body else path
        answer = self.client.put(where, json={"revision": revision, **body})
        assert answer.is_success, answer.text

    def processor(self, name: str, ended: list[str], **properties: str) -> str:
        kind = self.get(f"/flow/processor-types?type={STANDARD}{name}")["processorTypes"][0]
        config = {
            "properties": {name.replace("_", " "): value for name, value in properties.items()},
            "autoTerminatedRelationships": ended,
        }
        component = {"type": kind["type"], "bundle": kind["bundle"], "name": name, "config": config}
        made: str = self.post(f"/process-groups/{self.root}/processors", component=component)["id"]
        self._made.append(("processors", made))
        return made

    def connect(self, source: tuple[str, str, str], destination: str, *relationships: str) -> None:
        """`source`: kind, group and identifier."""
        kind, group, identifier = source
        component = {
            "source": {"id": identifier, "groupId": group, "type": kind},
            "destination": {"id": destination, "groupId": self.root, "type": "PROCESSOR"},
            "selectedRelationships": list(relationships),
        }
        made = self.post(f"/process-groups/{self.root}/connections", component=component)["id"]
        self._made.append(("connections", made))

    @property
    def port(self) -> dict[str, Any]:
        [found] = self.get(f"/process-groups/{self.group}/output-ports")["outputPorts"]
        return dict(found)

    def open_port(self) -> None:
        identifier = self.port["id"]
        component = {"id": identifier, "state": "STOPPED"}  # which enables it
        self.put("output-ports", identifier, component=component)
        self.put("output-ports", identifier, state="RUNNING")

    def close_port(self) -> None:
        identifier = self.port["id"]
        self.put("output-ports", identifier, state="STOPPED")
        assert until(
            lambda: not self.get(f"/output-ports/{identifier}")["status"]["aggregateSnapshot"]["activeThreadCount"], 10
        )
        self.put("output-ports", identifier, component={"id": identifier, "state": "DISABLED"})

    @property
    def way(self) -> dict[str, Any]:
        """The connection in front of the port."""
        found = self.get(f"/process-groups/{self.group}/connections")["connections"]
        [one] = [one for one in found if one["destinationType"] == "OUTPUT_PORT"]
        return dict(one)

    def queued(self) -> Iterator[tuple[dict[str, str], bytes]]:
        """Attributes and content of what lies in front of the port."""
        path = f"/flowfile-queues/{self.way['id']}"
        request = self.post(f"{path}/listing-requests")["listingRequest"]
        listing = f"{path}/listing-requests/{request['id']}"
        assert until(lambda: self.get(listing)["listingRequest"]["finished"], 20, every=0.1)
        for one in self.get(listing)["listingRequest"]["flowFileSummaries"]:
            flow_file = f"{path}/flowfiles/{one['uuid']}"
            content = self.client.get(f"{flow_file}/content").raise_for_status().content
            yield self.get(flow_file)["flowFile"]["attributes"], content
        self.client.delete(listing)

    @property
    def waiting(self) -> int:
        """FlowFiles in front of the port."""
        return int(self.way["status"]["aggregateSnapshot"]["flowFilesQueued"])

    def flow_files_in(self) -> dict[str, int]:
        """How many each processor of the group has taken, of the last five minutes."""
        found = self.get(f"/flow/process-groups/{self.group}/status?recursive=true")["processGroupStatus"]
        groups = [
            one["processGroupStatusSnapshot"] for one in found["aggregateSnapshot"]["processGroupStatusSnapshots"]
        ]
        return {
            one["processorStatusSnapshot"]["name"]: one["processorStatusSnapshot"]["flowFilesIn"]
            for group in groups
            for one in group["processorStatusSnapshots"]
        }

    def run(self) -> None:
        for kind, identifier in self._made:
            if kind == "processors":
                assert until(
                    lambda one=identifier: self.get(f"/processors/{one}")["component"]["validationStatus"] == "VALID",
                    20,
                )
                self.put(kind, identifier, state="RUNNING")

    def remove(self) -> None:
        """Everything that was put here, and what has come."""
        self.post(f"/flowfile-queues/{self.way['id']}/drop-requests")
        assert until(lambda: self.waiting == 0, 20, every=0.1)
        for kind, identifier in self._made:
            if kind == "processors":
                self.put(kind, identifier, state="STOPPED")
        for kind, identifier in sorted(self._made):  # connections first
            if kind == "connections":
                self.post(f"/flowfile-queues/{identifier}/drop-requests")

            def gone(kind: str = kind, identifier: str = identifier) -> bool:
                version = self.get(f"/{kind}/{identifier}")["revision"]["version"]
                return self.client.delete(f"/{kind}/{identifier}", params={"version": version}).is_success

            assert until(gone, 20, every=0.2), identifier
        self._made = []


@pytest.fixture
def canvas(started: Warehouse) -> Iterator[Canvas]:
    with started.nifi.client() as client:
        client.headers["Connection"] = "close"  # NiFi closes those that rest, also at the moment of the next request
        one = Canvas(client)
        yield one
        if one.port["component"]["state"] != "DISABLED":
            one.close_port()
        one.remove()


@pytest.fixture
def on(started: Warehouse, nar: Path, command: Command) -> Iterator[Command]:
    code, facts, said = command("deploy", "--nar", str(nar), "--set", "images.pass.on=true")
    assert code == 0, said
    [notes] = [step["notes"] for step in facts["steps"] if "run" in step["said"] or "started" in step["said"]]  # type: ignore[attr-defined]
    assert any("port images leads nowhere" in note for note in notes), facts
    yield command
    assert command("deploy", "--nar", str(nar), "--set", "images.pass.on=false")[0] == 0


def attributes(mail: EmailMessage) -> dict[str, str]:
    """What PutEmail writes of a FlowFile."""
    body = mail.get_body()
    assert body is not None
    return dict(re.findall(r"^\s+([\w.]+) = '(.*)'$", body.get_content(), re.MULTILINE))


# --- the tests ----------------------------------------------------------------------------------------------------


def test_nothing_comes_to_the_port_unless_it_is_wanted(started: Warehouse, canvas: Canvas, command: Command) -> None:
    assert canvas.port["component"]["state"] == "DISABLED"
    assert post(started.classify, FROG, JPEG).status == 200
    assert post(started.images, FROG, JPEG).status == 202
    assert len(table(started, command)) == 2
    assert canvas.waiting == 0
    counts = canvas.flow_files_in()
    assert counts["PutKuduRecord"] > 0
    assert [counts[name] for name in ("Forget requests", "Unpack images", "Image or answer?")] == [0, 0, 0]


def test_a_frog_that_the_model_is_sure_of_is_mailed_with_its_record(
    started: Warehouse,
    canvas: Canvas,
    on: Command,
    mails: Mails,
    nar: Path,
) -> None:
    route = canvas.processor("RouteOnAttribute", ["unmatched"], **RULES)
    mail = canvas.processor(
        "PutEmail", ["success", "failure"], SMTP_Hostname="127.0.0.1", SMTP_Port=str(mails.port), SMTP_Auth="false",
        From="warehouse@example.org", To="keeper@example.org", Subject="${predicted_class}: ${filename}",
        Include_All_Attributes_In_Message="true", Attach_File="true",
        Message="${predicted_class}, ${confidence}, from ${source_ip}: ${storage_uri}",
    )  # fmt: skip
    canvas.connect(("OUTPUT_PORT", canvas.group, canvas.port["id"]), route)
    canvas.connect(("PROCESSOR", canvas.root, route), mail, *RULES)
    canvas.run()
    canvas.open_port()

    named = {**JPEG, **SENDER, "Content-Disposition": 'attachment; filename="a frog.jpg"'}
    sent = [key() for _ in range(4)]
    for number, (content, request_id) in enumerate(zip((FROG, SHIP, b"no picture", FROG), sent, strict=True)):
        url = started.images if number == 3 else started.classify
        answer = post(url, content, {**named, "Idempotency-Key": request_id})
        assert answer.status == (200, 200, 415, 202)[number]
        assert number == 3 or answer.json()["request_id"] == request_id, "each client has its own answer"
    assert until(lambda: len(mails.mails) == 3, 30, every=0.1), mails.mails
    assert until(lambda: canvas.waiting == 0, 10, every=0.1)
    rows = {row["request_id"]: row for row in table(started, on)}
    assert set(rows) == set(sent)
    ways = Counter()
    for one in mails.mails:
        found = attributes(one)
        ways[found.pop("RouteOnAttribute.Route")] += 1
        row = {name: value for name, value in rows[found["request_id"]].items() if value is not None}
        good = row["status"] == "classified"
        assert one["Subject"] == f"{'frog' if good else ''}: a frog.jpg"
        [attached] = list(one.iter_attachments())
        assert attached.get_content() == (FROG if good else b"no picture")
        assert found["mime.type"] == ("image/jpeg" if good else "application/octet-stream")
        of_the_mail = {"id", "entryDate", "fileSize"}
        assert set(found) - of_the_mail == {*row, "filename", "path", "mime.type", "uuid"}, "nothing of the request"
        same = ("image_id", "storage_uri", "node", "error_code", "source_ip", "status", "predicted_class")
        assert {name: found.get(name) for name in same} == {name: row.get(name) for name in same}
    assert ways == {"frog": 2, "without": 1}


def test_large_photographs_leave_whole(started: Warehouse, canvas: Canvas, on: Command) -> None:
    sent = {hashlib.sha256(one).hexdigest(): one for one in (noise(n, 350) for n in range(6))}
    assert min(map(len, sent.values())) > 300_000
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        send = lambda pair: post((started.classify, started.images)[pair[0] % 2], pair[1], PNG).status  # noqa: E731
        assert Counter(pool.map(send, enumerate(sent.values()))) == {200: 3, 202: 3}
    assert until(lambda: canvas.waiting == 6, 30, every=0.2), canvas.waiting
    found = {attributes["image_id"]: content for attributes, content in canvas.queued()}
    assert found == sent
    assert "in base64" not in started.nifi.log_path.read_text(), "not by the way that NiFi has"


def test_a_way_out_stays_open_when_the_flow_is_stopped_started_and_replaced(
    started: Warehouse, canvas: Canvas, on: Command, nar: Path
) -> None:
    canvas.connect(
        ("OUTPUT_PORT", canvas.group, canvas.port["id"]), canvas.processor("RouteOnAttribute", ["unmatched"])
    )
    canvas.run()
    canvas.open_port()
    assert on("stop")[0] == 0
    assert canvas.port["component"]["state"] == "STOPPED"
    code, facts, said = on("deploy", "--nar", str(nar))
    assert code == 0, said
    assert canvas.port["component"]["state"] == "RUNNING"
    assert "leads nowhere" not in str(facts)
    one = stop_processor(canvas.client, "HandleHttpResponse")
    canvas.put("processors", one["id"], component={"id": one["id"], "name": "Reply"})
    code, facts, said = on("deploy", "--nar", str(nar))
    assert code == 0, said
    assert "replaced in place, 1 difference" in str(facts)
    assert canvas.port["component"]["state"] == "RUNNING"
    assert on("status")[0] == 0
    assert post(started.classify, FROG, JPEG).status == 200
    assert until(lambda: canvas.waiting == 0, 10, every=0.1)


def test_a_port_that_is_enabled_and_not_connected_keeps_nothing_from_running(
    started: Warehouse, canvas: Canvas, on: Command, nar: Path
) -> None:
    identifier = canvas.port["id"]
    canvas.put("output-ports", identifier, component={"id": identifier, "state": "STOPPED"})
    assert on("status")[0] == 0
    assert on("stop")[0] == 0
    body = {"id": canvas.group, "state": "RUNNING"}  # as Start in the menu of the canvas
    answer = canvas.client.put(f"/flow/process-groups/{canvas.group}", json=body)
    assert answer.is_success, answer.text
    code, _, said = on("deploy", "--nar", str(nar))
    assert code == 0, said
    assert on("status")[0] == 0
    assert post(started.classify, FROG, JPEG).status == 200


def test_nobody_has_to_take_the_images(started: Warehouse, canvas: Canvas, on: Command) -> None:
    def one(number: int) -> int:
        return post((started.classify, started.images)[number % 2], numbered(7000 + number), JPEG).status

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert Counter(pool.map(one, range(200))) == {200: 100, 202: 100}
    assert until(lambda: canvas.waiting == 200, 60, every=0.2), canvas.waiting
    code, facts, _ = on("status")
    assert (code, facts["problems"]) == (0, [])
    assert canvas.way["component"]["flowFileExpiration"] == "10 min"
    # As ten minutes later: dropped, though nothing takes FlowFiles out of that queue.
    canvas.put("connections", canvas.way["id"], component={"id": canvas.way["id"], "flowFileExpiration": "1 sec"})
    assert until(lambda: canvas.waiting == 0, 90, every=0.5), canvas.waiting
    assert len(table(started, on)) == 200
