"""Contents cross NiFi's bridge whole, by every way there is, and where a way is closed by the next.

The other end is py4j's own Java gateway, as NiFi starts it, with objects that look like NiFi's (tests/java/Bridge.java).
"""

from __future__ import annotations

import gc
import io
import logging
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from py4j import java_gateway
from py4j.java_gateway import CallbackServerParameters, GatewayParameters, JavaGateway, find_jar_path
from py4j.protocol import Py4JError, Py4JJavaError

from imagewarehouse.nifi import bridge, codec
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone.flowfile import FlowFile, InputFlowFile, Ticket
from tools import artifacts

SIZES = [0, 1, 100, 6_000, 6_001, 8_191, 8_192, 64 << 10, 1 << 20, pytest.param(20 << 20, marks=pytest.mark.long)]
OPENSSL = shutil.which("openssl")
MODES = ["handover", "quickack", "plain"]

_PATTERN = bytes(
    (i * 31 + (i >> 8) * 7) & 0xFF for i in range(1 << 16)
)  # repeats: 7 * 256 and 31 * 65536 are 0 mod 256


def content(size: int, seed: int) -> bytes:
    """What `Bridge.bytes` makes."""
    moved = _PATTERN.translate(bytes((i + seed) & 0xFF for i in range(256)))
    return (moved * (size // len(moved) + 1))[:size]


# --- the Java end -------------------------------------------------------------------------------------------------


class Bridge:
    """A JVM with a gateway, and this process connected to it as NiFi's Python processes are."""

    def __init__(self, class_path: str) -> None:
        token = secrets.token_hex(16)
        self.process = subprocess.Popen(
            [artifacts.find_java(), "-Xmx512m", "-cp", class_path, "Bridge", token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self._parameters = GatewayParameters(
            port=int(self.process.stdout.readline()), enable_memory_management=True, auth_token=token
        )
        self.gateway = self.connect()

    def connect(self, **more: Any) -> JavaGateway:
        return JavaGateway(gateway_parameters=self._parameters, auto_convert=True, **more)

    def flow_file(self, size: int, seed: int = 3, behaviour: str = "whole") -> Any:
        return self.gateway.entry_point.flowFile(size, seed, behaviour)

    @property
    def pool(self) -> deque[Any]:
        found: deque[Any] = self.gateway._gateway_client.deque
        return found

    def crossed(self) -> tuple[int, int]:
        """(contents that were read as text, contents that were exported)"""
        return self.gateway.entry_point.reads(), self.gateway.entry_point.exports()

    def disconnect(self) -> None:
        self.gateway.close()
        self.gateway._gateway_client.is_connected = False  # or each object tells Java, when it goes, that it has gone

    def close(self) -> None:
        self.disconnect()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture(scope="session")
def class_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    [compiler] = artifacts.of_set("kudu-compiler")
    ecj = REPOSITORY / "build" / "compiler" / compiler.filename
    if not ecj.is_file():
        pytest.fail("the Java compiler is not here; run `python -m tools.artifacts kudu-client`", pytrace=False)
    py4j, jar = Path(find_jar_path()), tmp_path_factory.mktemp("bridge") / "bridge.jar"
    artifacts.compile_jar(artifacts.find_java(), ecj, [REPOSITORY / "tests" / "java" / "Bridge.java"], [py4j], jar)
    return os.pathsep.join(map(str, (py4j, jar)))


@pytest.fixture(scope="session")
def jvm(class_path: str) -> Iterator[Bridge]:
    running = Bridge(class_path)
    yield running
    running.close()


@pytest.fixture
def java(jvm: Bridge) -> Iterator[Bridge]:
    """With connections that nobody has touched yet."""
    jvm.gateway = jvm.connect()
    yield jvm
    jvm.disconnect()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has read nothing yet."""
    monkeypatch.setattr(bridge, "_handover", bridge._Handover())
    monkeypatch.setattr(bridge, "_warned", set())
    monkeypatch.delenv(bridge.SWITCH, raising=False)


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setenv(bridge.SWITCH, name)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage() for r in caplog.records if r.name == "imagewarehouse.bridge" and r.levelno >= logging.WARNING
    ]


# --- whole, by every way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_a_content_of_any_size_comes_whole(
    java: Bridge, mode: Callable[[str], None], caplog: pytest.LogCaptureFixture, size: int, name: str
) -> None:
    mode(name)
    before = java.crossed()
    assert bridge.read(java.flow_file(size)) == content(size, 3)
    reads, exports = (now - then for now, then in zip(java.crossed(), before, strict=True))
    by_handover = name == "handover" and size > 6_000
    assert (reads, exports) == ((0, 1) if by_handover else (1, 0))
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("value", "exported"),
    [("handover", 1), ("quickack", 0), ("plain", 0), ("", 1), ("fast", 1), (None, 1)],
)
def test_the_switch_chooses_the_way_and_what_is_no_choice_is_none(
    java: Bridge, mode: Callable[[str], None], value: str | None, exported: int
) -> None:
    if value is not None:
        mode(value)
    before = java.crossed()[1]
    assert bridge.read(java.flow_file(50_000)) == content(50_000, 3)
    assert java.crossed()[1] - before == exported
    quickened = [hasattr(connection, bridge._OURS) for connection in java.pool]
    assert quickened == [value != "plain"]


def test_one_content_after_the_other_is_never_mixed_up(java: Bridge) -> None:
    """They share a file in memory: nothing of a longer one may be left for the shorter one behind it."""
    for number, size in enumerate([1 << 20, 6_001, 100_000, 6_002, 1 << 20, 10, 6_001]):
        assert bridge.read(java.flow_file(size, number)) == content(size, number)


@pytest.mark.parametrize("name", MODES)
def test_many_threads_read_each_their_own(java: Bridge, mode: Callable[[str], None], name: str) -> None:
    mode(name)

    def read(number: int) -> bool:
        size = [100, 7_000, 9_000, 60_000, 300_000][number % 5] + number
        found = bridge.read(java.flow_file(size, number))
        return found == content(size, number) and java.flow_file(10, number).getSize() == 10

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(read, range(240)))
    assert len(java.pool) <= 2 * 12  # a connection that is being changed may be missed, but not for ever
    # A file in memory for each call that was ever under way at once, and no more.
    assert len(bridge._handover._idle) <= 12


def test_a_processor_that_nifi_calls_reads_its_flow_file(java: Bridge) -> None:
    """`transform` runs on the thread of a connection that Java opened."""
    seen: list[Any] = []

    class Processor:
        def transform(self, flow_file: Any) -> int:
            found = bridge.read(flow_file)
            connection = threading.current_thread().socket  # type: ignore[attr-defined]
            seen.append((found, connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            return len(found)

        class Java:
            implements = ["Bridge$Processor"]

    gateway = java.connect(callback_server_parameters=CallbackServerParameters(port=0))
    try:
        server = gateway.get_callback_server()
        gateway.java_gateway_server.resetCallbackClient(
            gateway.java_gateway_server.getCallbackClient().getAddress(), server.get_listening_port()
        )
        processor = Processor()
        for number, size in enumerate([10, 100_000, 6_001]):
            flow_file = gateway.entry_point.flowFile(size, number, "whole")
            assert gateway.entry_point.transform(processor, flow_file) == size
        assert [found for found, _ in seen] == [content(size, n) for n, size in enumerate([10, 100_000, 6_001])]
        assert all(without_delay for _, without_delay in seen)
    finally:
        gateway.close()
        gateway._gateway_client.is_connected = False
        gateway.shutdown_callback_server()


@pytest.mark.parametrize("length", [0, 10, 8_192, 100_000])
@pytest.mark.parametrize("name", MODES)
def test_a_long_attribute_comes_whole(java: Bridge, mode: Callable[[str], None], length: int, name: str) -> None:
    mode(name)
    text = ('ä\\\n\t\r"\U0001f41e' * length)[:length]
    flow_file = java.gateway.entry_point.flowFileOf("package.records", text)
    assert bridge.text_attribute(flow_file, "package.records") == text
    assert bridge.text_attribute(flow_file, "another") is None


def test_a_package_of_the_jvm_is_not_taken_for_one_of_this_process(java: Bridge) -> None:
    """An object of py4j has every attribute that is asked for."""
    text = '[{"request_id":"one","status":"rejected"}]'
    found = codec.Bundle(java.gateway.entry_point.flowFileOf(codec.RECORDS, text))
    assert [image.event.request_id for image in found.images()] == ["one"]
    assert found.carried is None


class Result:
    """What a processor gives back, with NiFi's way of handing over attributes."""

    def __init__(
        self, attributes: dict[str, Any] | None, gateway: JavaGateway | None = None, contents: bytes | None = None
    ) -> None:
        self.relationship = "success"
        self.attributes = attributes
        self.contents = contents
        self._gateway = gateway

    def getContents(self) -> bytes | None:
        return self.contents

    def getAttributes(self) -> Any:
        if self.attributes is None or self._gateway is None:
            return self.attributes
        found = self._gateway.jvm.java.util.HashMap()
        for name, value in self.attributes.items():
            found.put(name, value)
        return found


@pytest.mark.parametrize("count", [1, 9, 10, 11, 20, 21, pytest.param(200, marks=pytest.mark.long)])
def test_attributes_arrive_in_the_jvm_as_they_are(java: Bridge, caplog: pytest.LogCaptureFixture, count: int) -> None:
    attributes = {f"näme {n}\n": 'ä\\\n\t\r"\U0001f41e' * n * 10 for n in range(count)}
    found = bridge.send_attributes_together(Result(attributes, java.gateway), java.flow_file(10)).getAttributes()
    assert dict(found) == attributes
    assert told(caplog) == []


@pytest.mark.parametrize("attributes", [None, {}], ids=["none", "empty"])
def test_a_result_without_attributes_stays_as_it_is(java: Bridge, attributes: dict[str, Any] | None) -> None:
    assert bridge.send_attributes_together(Result(attributes), java.flow_file(10)).getAttributes() == attributes


@pytest.mark.parametrize("value", [None, 5], ids=["null", "a-number"])
def test_attributes_that_do_not_cross_together_cross_as_nifi_does_it(
    java: Bridge, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    attributes = {"a": "b", "c": value}
    found = bridge.send_attributes_together(Result(attributes, java.gateway), java.flow_file(10)).getAttributes()
    assert dict(found) == attributes
    assert len(told(caplog)) == (1 if value is None else 0)  # Map.of takes no null


@pytest.mark.parametrize("name", ["JavaMember", "JavaClass"])
def test_a_py4j_of_another_make_hands_attributes_over_as_nifi_does_it(
    java: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    def other(*arguments: Any) -> Any:
        raise TypeError("takes something else")

    flow_file, attributes = java.flow_file(10), {str(n): str(n) for n in range(25)}
    results = [bridge.send_attributes_together(Result(attributes), flow_file) for _ in range(3)]
    monkeypatch.setattr(java_gateway, name, other)
    assert [result.getAttributes() for result in results] == [attributes] * 3
    assert len(told(caplog)) == 1


def test_in_plain_mode_and_with_other_hosts_results_are_left_alone(java: Bridge, mode: Callable[[str], None]) -> None:
    other = bridge.send_attributes_together(Result({"a": "b"}), InputFlowFile(FlowFile({}, b"", 0, Ticket())))
    mode("plain")
    plain = bridge.send_attributes_together(Result({"a": "b"}), java.flow_file(10))
    assert "getAttributes" not in vars(other) | vars(plain)


@pytest.mark.parametrize("size", [6_001, 64 << 10, pytest.param(20 << 20, marks=pytest.mark.long)])
def test_contents_are_read_out_of_this_process(java: Bridge, caplog: pytest.LogCaptureFixture, size: int) -> None:
    for number in range(3):
        flow_file, sent = java.flow_file(10), content(size + number % 2, number)
        result = bridge.send_contents_in_memory(Result(None, contents=sent), flow_file)
        assert java.gateway.entry_point.imported(flow_file) is None, "not before NiFi asks for it"
        assert result.getContents() is None
        assert java.gateway.entry_point.imported(flow_file) == sent
    (slot,) = bridge._handover._idle
    assert os.fstat(slot.descriptor).st_size == 0
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("name", "size"), [("handover", 6_000), ("handover", 0), ("quickack", 7_000), ("plain", 7_000)]
)
def test_small_contents_and_those_of_other_modes_cross_as_nifi_does_it(
    java: Bridge, mode: Callable[[str], None], name: str, size: int
) -> None:
    mode(name)
    result = bridge.send_contents_in_memory(Result(None, contents=content(size, 1)), java.flow_file(10))
    assert "getContents" not in vars(result)


def test_no_contents_and_those_for_other_hosts_are_left_alone(java: Bridge) -> None:
    none = bridge.send_contents_in_memory(Result(None), java.flow_file(10))
    other = Result(None, contents=content(7_000, 1))
    other = bridge.send_contents_in_memory(other, InputFlowFile(FlowFile({}, b"", 0, Ticket())))
    assert "getContents" not in vars(none) | vars(other)


@pytest.mark.parametrize("behaviour", ["renamed", "dies half-way", "no session"])
def test_contents_that_cannot_be_read_out_of_this_process_cross_as_nifi_does_it(
    java: Bridge, caplog: pytest.LogCaptureFixture, behaviour: str
) -> None:
    for number in range(3):
        sent = content(50_000, number)
        result = bridge.send_contents_in_memory(Result(None, contents=sent), java.flow_file(10, 1, behaviour))
        assert result.getContents() == sent
    (line,) = told(caplog)
    assert line.startswith("NiFi's Python bridge is not as expected, contents cross back in base64: ")
    assert all(os.fstat(slot.descriptor).st_size == 0 for slot in bridge._handover._idle)


# --- where a way is closed ----------------------------------------------------------------------------------------

CLOSED = ["renamed", "short", "empty", "dies half-way", "no session"]


@pytest.mark.parametrize("behaviour", CLOSED)
def test_where_the_handover_does_not_work_the_bridges_own_way_gives_the_content(
    java: Bridge, caplog: pytest.LogCaptureFixture, behaviour: str
) -> None:
    before = java.crossed()
    for number in range(5):
        assert bridge.read(java.flow_file(50_000, number, behaviour)) == content(50_000, number)
    reads, exports = (now - then for now, then in zip(java.crossed(), before, strict=True))
    assert (reads, exports) == (5, 0 if behaviour == "renamed" else 1)  # it is not tried again where it never worked
    (line,) = told(caplog)
    assert line.startswith("NiFi's Python bridge is not as expected, contents cross the bridge in base64: ")


@pytest.mark.parametrize("behaviour", CLOSED[1:])
def test_a_flow_file_that_cannot_be_handed_over_does_not_close_the_way_for_others(
    java: Bridge, caplog: pytest.LogCaptureFixture, behaviour: str
) -> None:
    sizes = [50_000, 40_000, 60_000, 7_000, 6_002]
    for number, size in enumerate(sizes):
        assert bridge.read(java.flow_file(size, number)) == content(size, number)
        before = java.crossed()[0]
        assert bridge.read(java.flow_file(size - 1, number, behaviour)) == content(size - 1, number)
        assert java.crossed()[0] == before + 1
    before = java.crossed()
    assert bridge.read(java.flow_file(50_000)) == content(50_000, 3)
    assert java.crossed() == (before[0], before[1] + 1)
    assert len(told(caplog)) == 1


def test_a_content_that_is_lost_raises_what_nifi_raises(java: Bridge) -> None:
    with pytest.raises(Py4JJavaError, match="the content is not there"):
        bridge.read(java.flow_file(50_000, behaviour="lost"))
    assert bridge.read(java.flow_file(50_000)) == content(50_000, 3)


def test_without_memory_files_the_bridges_own_way_is_taken(
    java: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(bridge, "_handover", bridge._Handover())
    before = java.crossed()[1]
    assert bridge.read(java.flow_file(50_000)) == content(50_000, 3)
    assert java.crossed()[1] == before
    assert told(caplog) == []


def test_a_file_in_memory_that_cannot_be_had_costs_no_content(
    java: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", none_left)
    assert bridge.read(java.flow_file(50_000)) == content(50_000, 3)
    assert len(told(caplog)) == 1


def test_an_object_that_is_not_nifis_is_read_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class Only:
        def getContentsAsBytes(self) -> bytearray:
            return bytearray(b"x" * 10_000)

        def getAttribute(self, name: str) -> str:
            return name * 2

    found = bridge.read(Only())
    assert (type(found), found) == (bytes, b"x" * 10_000)
    assert bridge.text_attribute(Only(), "a") == "aa"
    assert bridge.read(InputFlowFile(FlowFile({}, b"content", 7, Ticket()))) == b"content"
    assert told(caplog) == []


def test_what_another_host_raises_comes_through() -> None:
    with pytest.raises(ValueError, match="was not kept"):
        bridge.read(InputFlowFile(FlowFile({}, None, 7, Ticket())))


# --- connections --------------------------------------------------------------------------------------------------


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with ours, theirs:
            yield ours, theirs


def reading(client: Any) -> Any:
    """A FlowFile of a host with these connections."""
    return SimpleNamespace(
        _gateway_client=client,
        getContentsAsBytes=lambda: b"x" * 9_000,
        getSize=lambda: 9_000,
        getAttribute=lambda name: name,
    )


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(SimpleNamespace(), id="no-pool"),
        pytest.param(SimpleNamespace(deque=None), id="no-pool-but-its-name"),
        pytest.param(SimpleNamespace(deque={1: 2}), id="a-pool-of-another-kind"),
        pytest.param(SimpleNamespace(deque=deque([SimpleNamespace()])), id="connection-without-a-socket"),
        pytest.param(SimpleNamespace(deque=deque([SimpleNamespace(socket=None, stream=None)])), id="not-yet-connected"),
        pytest.param(SimpleNamespace(deque=deque([object()])), id="nothing-can-be-set-on-it"),
    ],
)
def test_a_host_with_other_connections_is_read_and_told_of_once(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    before = list(getattr(client, "deque", None) or [])
    bridge._handover.works = False
    for _ in range(3):
        assert bridge.read(reading(client)) == b"x" * 9_000
        assert bridge.text_attribute(reading(client), "name") == "name"
    assert list(getattr(client, "deque", None) or []) == before
    (line,) = told(caplog)
    assert "the 40 ms stall of large contents stays" in line


def test_a_stream_of_another_kind_stays(caplog: pytest.LogCaptureFixture) -> None:
    with connected() as (ours, theirs):
        stream = ours.makefile("r", encoding="utf-8")
        connection = SimpleNamespace(socket=ours, stream=stream)
        client = SimpleNamespace(deque=deque([connection]))
        bridge.acknowledge_at_once(client)
        assert list(client.deque) == [connection]
        assert connection.stream is stream
        theirs.sendall(b"one\n")
        assert connection.stream.readline() == "one\n"
    assert len(told(caplog)) == 1


def test_a_connection_is_changed_once_and_keeps_its_old_stream_open(caplog: pytest.LogCaptureFixture) -> None:
    with connected() as (ours, theirs):
        connection = SimpleNamespace(socket=ours, stream=ours.makefile("rb"))
        client = SimpleNamespace(deque=deque([connection]))
        bridge.acknowledge_at_once(client)
        changed = connection.stream
        assert isinstance(changed, io.BufferedReader)
        bridge.acknowledge_at_once(client)
        assert connection.stream is changed
        gc.collect()
        theirs.sendall(b"one\ntwo" + b"x" * 200_000 + b"\n")
        assert connection.stream.readline() == b"one\n"
        assert connection.stream.readline() == b"two" + b"x" * 200_000 + b"\n"
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert told(caplog) == []


def test_a_read_timeout_of_a_connection_still_holds() -> None:
    with connected() as (ours, _):
        ours.settimeout(0.05)
        connection = SimpleNamespace(socket=ours, stream=ours.makefile("rb"))
        bridge.acknowledge_at_once(SimpleNamespace(deque=deque([connection])))
        with pytest.raises(TimeoutError):
            connection.stream.readline()


def test_the_end_of_a_connection_is_seen() -> None:
    with connected() as (ours, theirs):
        connection = SimpleNamespace(socket=ours, stream=ours.makefile("rb"))
        bridge.acknowledge_at_once(SimpleNamespace(deque=deque([connection])))
        theirs.sendall(b"half")
        theirs.close()
        assert connection.stream.readline() == b"half"
        assert connection.stream.readline() == b""


def test_a_closed_connection_gives_back_its_descriptor() -> None:
    with connected() as (ours, theirs):
        connection = SimpleNamespace(socket=ours, stream=ours.makefile("rb"))
        bridge.acknowledge_at_once(SimpleNamespace(deque=deque([connection])))
        descriptor = ours.fileno()
        connection.stream.close()  # as py4j closes one
        connection.socket.close()
        del connection
        gc.collect()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
        assert theirs.recv(1) == b""


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of its own for 127.0.0.1, with its key."""
    if OPENSSL is None:
        pytest.skip("needs the program openssl")
    path = tmp_path / "host.pem"
    made = subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path.with_suffix(".key"), "-out", path],
        capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return path


def test_an_encrypted_connection_still_works(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, certificate.with_suffix(".key"))
    client_side = ssl.create_default_context(cafile=str(certificate))
    with connected() as (ours, theirs), ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(server_side.wrap_socket, theirs, server_side=True)
        with client_side.wrap_socket(ours, server_hostname="127.0.0.1") as encrypted, accepted.result(10) as other:
            connection = SimpleNamespace(socket=encrypted, stream=encrypted.makefile("rb"))
            bridge.acknowledge_at_once(SimpleNamespace(deque=deque([connection])))
            sent = pool.submit(other.sendall, b"one\ntwo" + b"x" * 200_000 + b"\nthree\n")
            assert connection.stream.readline() == b"one\n"
            assert connection.stream.readline() == b"two" + b"x" * 200_000 + b"\n"
            assert connection.stream.readline() == b"three\n"
            sent.result(10)


def test_ordinary_calls_go_on_over_a_changed_connection(java: Bridge) -> None:
    flow_file = java.flow_file(50_000)
    bridge.read(flow_file)
    assert all(hasattr(connection, bridge._OURS) for connection in java.pool)
    for _ in range(20):
        assert flow_file.getSize() == 50_000
        assert flow_file.getAttribute("size") == "50000"
        assert flow_file.getAttribute("another") is None
        assert java.gateway.jvm.java.lang.Math.max(3, 5) == 5
        with pytest.raises(Py4JJavaError):
            java.gateway.jvm.java.lang.Integer.parseInt("no number")
        with pytest.raises(Py4JError):
            flow_file.noSuchMethod()
        text = "x" * 20_000 + "ä\n"
        assert java.gateway.jvm.java.util.Objects.toString(text) == text
    assert len(java.pool) == 1


def test_calls_go_on_while_connections_are_being_changed(java: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is changed again and again, as if each were new, while others use the pool."""
    stop = threading.Event()
    failures: list[BaseException] = []
    flow_file = java.flow_file(9_000)

    def change() -> None:
        while not stop.is_set():
            for connection in list(java.pool):
                if hasattr(connection, bridge._OURS):
                    # Only its mark: the streams of those in use are not touched; the pool's are taken out first.
                    try:
                        delattr(connection, bridge._OURS)
                    except AttributeError:
                        continue
            bridge.acknowledge_at_once(java.gateway._gateway_client)

    def call() -> None:
        try:
            for number in range(150):
                assert flow_file.getSize() == 9_000
                if number % 10 == 0:
                    assert bytes(flow_file.getContentsAsBytes()) == content(9_000, 3)
        except BaseException as err:
            failures.append(err)

    changing = threading.Thread(target=change)
    calling = [threading.Thread(target=call) for _ in range(4)]
    for thread in (changing, *calling):
        thread.start()
    for thread in calling:
        thread.join(60)
    stop.set()
    changing.join(20)
    assert failures == []
    assert len(java.pool) <= 10


def test_a_jvm_that_is_gone_ends_a_read_with_an_error(class_path: str) -> None:
    gone = Bridge(class_path)
    flow_files = [gone.flow_file(50_000, number) for number in range(3)]
    assert bridge.read(flow_files[0]) == content(50_000, 0)
    gone.process.kill()
    gone.process.wait(20)
    with pytest.raises(Py4JError):
        bridge.read(flow_files[1])
    gone.close()


# --- what it costs ------------------------------------------------------------------------------------------------


def test_thousands_of_reads_leave_nothing_behind(java: Bridge) -> None:
    theirs, own = psutil.Process(java.process.pid), psutil.Process()

    def read(count: int) -> None:
        for number in range(count):
            behaviour = "short" if number % 50 == 49 else "whole"
            size = 6_001 + number * 37 % 60_000
            assert len(bridge.read(java.flow_file(size, number, behaviour))) == size

    read(200)
    gc.collect()
    before = own.num_fds(), theirs.num_fds(), own.memory_info().rss
    read(2_000)
    gc.collect()
    after = own.num_fds(), theirs.num_fds(), own.memory_info().rss
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 3  # Java opens files of its own now and then
    assert after[2] - before[2] < 30 << 20  # together they were 72 MB


def test_a_file_in_memory_holds_nothing_between_two_reads(java: Bridge) -> None:
    for behaviour in ("whole", "short", "dies half-way"):
        bridge.read(java.flow_file(5 << 20, 3, behaviour))
    (slot,) = bridge._handover._idle
    assert os.fstat(slot.descriptor).st_size == 0


def test_the_stall_is_there_in_plain_mode_and_gone_in_the_others(java: Bridge, mode: Callable[[str], None]) -> None:
    """40 ms of waiting for each content over 8 KB, where the kernel delays acknowledgements."""

    def seconds(name: str) -> float:
        mode(name)
        java.disconnect()
        java.gateway = java.connect()
        flow_files = [java.flow_file(9_000, number) for number in range(31)]
        bridge.read(flow_files[0])  # connects, finds the fields
        started = time.perf_counter()
        for number, flow_file in enumerate(flow_files[1:], 1):
            assert bridge.read(flow_file) == content(9_000, number)
        return time.perf_counter() - started

    # The best of several, because the machine may be busy; the stall is waiting, which a busy machine makes no shorter.
    plain = min(seconds("plain") for _ in range(2))
    if plain < 30 * 0.02:
        pytest.skip(f"no stall here: 30 reads in {plain:.2f} s")
    for name in ("quickack", "handover"):
        assert min(seconds(name) for _ in range(3)) * 5 < plain


def test_on_a_system_without_quick_acknowledgements_connections_stay_as_they_are(
    java: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_QUICKACK")
    other = java.connect()
    client = other._gateway_client
    assert other.entry_point.reads() >= 0  # one connection is in the pool
    before = [connection.stream for connection in client.deque]
    bridge.acknowledge_at_once(client)
    assert [connection.stream for connection in client.deque] == before
    other.close()
    client.is_connected = False
