"""Reads a FlowFile's content from NiFi without the bridge's stall.

NiFi hands content to Python through py4j: text and base64 over a loopback socket. That is slow in two ways.

The stall. py4j's Java side writes an answer in pieces of 8 KB and sets no TCP_NODELAY, so the second piece waits until
the first is acknowledged, which Linux delays by 40 ms: 23 FlowFiles a second at 8 KB where 1 KB gives 2,300.
`acknowledge_at_once` lets the Python end acknowledge at once (TCP_QUICKACK, which the kernel takes back by itself and
which is therefore set before every receive), and send at once (TCP_NODELAY).

The encoding. What is left are about 25 ms a megabyte of base64 and text, on both sides. So a content of more than a few
kilobytes does not cross at all: NiFi's own `ProcessSession.exportTo` writes it into an anonymous file in memory
(memfd) that this process has open, and the bridge only carries the request. The session and the FlowFile behind
the object that NiFi hands to Python are private fields of it, read by reflection. Images that leave the flow go back the
same way, by `ProcessSession.importFrom`.

Both reach into what is not promised to stay. Where anything is not as it was, the content is read as NiFi's
documentation says, and the log says so once. IMAGEWAREHOUSE_BRIDGE=quickack or plain in NiFi's environment switches the
second, or both, off.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result", bound=Any)

log = logging.getLogger("imagewarehouse.bridge")

SWITCH = "IMAGEWAREHOUSE_BRIDGE"
_MODES = ("handover", "quickack", "plain")

# Below this an answer, base64 included, fits the 8 KB that the Java side writes at once: no stall, and one round trip is
# cheaper than the handover's five.
_SMALL = 6_000


def read(flow_file: Any) -> bytes:
    """The content of a FlowFile, whoever the host is. Raises what the host raises."""
    client = getattr(flow_file, "_gateway_client", None)
    if client is None:  # not NiFi's: the standalone runner's and the tests' objects hold the bytes themselves
        return bytes(flow_file.getContentsAsBytes())
    mode = _mode()
    if mode != "plain":
        acknowledge_at_once(client)
        if mode == "handover" and _handover.works:
            size = int(flow_file.getSize())
            if size > _SMALL:
                content = _handover.read(flow_file, size)
                if content is not None:
                    return content
    return bytes(flow_file.getContentsAsBytes())


def text_attribute(flow_file: Any, name: str) -> str | None:
    """An attribute that may be long; a long one stalls as a content does."""
    client = getattr(flow_file, "_gateway_client", None)
    if client is not None and _mode() != "plain":
        acknowledge_at_once(client)
    value: str | None = flow_file.getAttribute(name)
    return value


def send_attributes_together(result: Result, flow_file: Any) -> Result:
    """The same FlowFileTransformResult, whose attributes cross the bridge together.

    NiFi's own class asks the JVM for java, java.util and HashMap each time, which looks for classes of the first two names
    in every jar, and then puts the attributes one by one: five round trips and one for each attribute.
    """
    client = getattr(flow_file, "_gateway_client", None)
    if client is not None and result.attributes and _mode() != "plain":
        py4j = sys.modules[type(flow_file).__module__]
        setattr(result, "getAttributes", lambda: _java_map(result, py4j, client))  # noqa: B010 - the method of one object
    return result


def send_contents_in_memory(result: Result, flow_file: Any) -> Result:
    """The same FlowFileTransformResult, whose contents NiFi reads out of this process' memory: `read`, the other way round."""
    client = getattr(flow_file, "_gateway_client", None)
    large = result.contents is not None and len(result.contents) > _SMALL
    if client is not None and large and _mode() == "handover" and _handover.works:
        write = _handover.writer(flow_file)  # NiFi closes the FlowFile before it asks for the contents
        if write is not None:
            setattr(result, "getContents", lambda: None if write(result.contents) else result.contents)  # noqa: B010
    return result


_AT_ONCE = 10  # pairs that Map.of takes


def _java_map(result: Any, py4j: Any, client: Any) -> Any:
    try:
        pairs = list(result.attributes.items())
        parts = [pairs[start : start + _AT_ONCE] for start in range(0, len(pairs), _AT_ONCE)]
        map_of = py4j.JavaMember("of", None, "z:java.util.Map", client)
        maps = [map_of(*(text for pair in part for text in pair)) for part in parts]
        if len(maps) == 1:
            return maps[0]
        whole = py4j.JavaClass("java.util.HashMap", client)(maps[0])
        for part in maps[1:]:
            whole.putAll(part)
        return whole
    except Exception as err:  # noqa: BLE001 - as above
        _warn_once("attributes cross it one by one", err)
        return type(result).getAttributes(result)


def _mode() -> str:
    wanted = os.environ.get(SWITCH, _MODES[0])
    return wanted if wanted in _MODES else _MODES[0]


# --- the stall ----------------------------------------------------------------------------------------------------


class _QuickAck(io.RawIOBase):
    """A socket as a raw stream that acknowledges what it receives at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return self._socket.recv_into(buffer)


_OURS = "_imagewarehouse_stream"
_warned: set[str] = set()


def acknowledge_at_once(client: Any) -> None:
    """Let the pooled connections of a py4j client, and the connection that this call came in on, neither wait nor keep
    waiting. Changes nothing where they are not as py4j 0.10.9 makes them, nor outside Linux."""
    if not hasattr(socket, "TCP_QUICKACK"):
        return
    try:
        for _ in range(len(client.deque)):
            connection = client.deque.popleft()  # taken out of the pool: nobody else reads from it meanwhile
            try:
                if not hasattr(connection, _OURS):
                    _replace_stream(connection)
            finally:
                client.deque.append(connection)
        callback = threading.current_thread()  # py4j calls `transform` on the thread of a connection
        if isinstance(connection_socket := getattr(callback, "socket", None), socket.socket) and not hasattr(
            callback, _OURS
        ):
            connection_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            setattr(callback, _OURS, None)
    except IndexError:
        pass  # the pool was emptied meanwhile by other tasks; the next read comes by again
    except Exception as err:  # noqa: BLE001 - whatever it is, reading goes on as without this
        _warn_once("the 40 ms stall of large contents stays", err)


def _replace_stream(connection: Any) -> None:
    connection_socket, stream = connection.socket, connection.stream
    if not isinstance(connection_socket, socket.socket) or not isinstance(stream, io.BufferedReader):
        raise TypeError(f"a connection holds a {type(connection_socket).__name__} and a {type(stream).__name__}")
    connection_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.stream = io.BufferedReader(_QuickAck(connection_socket), 1 << 16)
    setattr(connection, _OURS, (connection.stream, stream))  # the old one is kept: closing it counts against the socket


# --- the handover -------------------------------------------------------------------------------------------------


class _Slot:
    """A file in memory, as this process and as the JVM know it."""

    def __init__(self, java_file: Any) -> None:
        self.descriptor = os.memfd_create("imagewarehouse")  # gone with the process, however it ends
        try:
            # NiFi started this process and runs as the same user, so it may open what this process has open.
            self.path = java_file(f"/proc/{os.getpid()}/fd/{self.descriptor}").toPath()
        except BaseException:
            os.close(self.descriptor)
            raise


class _Handover:
    """Contents through files in memory. Thread-safe: each call under way has a file of its own."""

    def __init__(self) -> None:
        self.works = hasattr(os, "memfd_create")
        self._lock = threading.Lock()
        self._idle: list[_Slot] = []
        self._fields: tuple[Any, Any] | None = None

    def read(self, flow_file: Any, size: int) -> bytes | None:
        """The content, or None where shared memory fails; the bridge itself may still read it."""
        try:
            session_of, flow_file_of = self._fields or self._find_fields(flow_file)
            with self._slot(flow_file) as slot:
                session_of.get(flow_file).exportTo(flow_file_of.get(flow_file), slot.path, False)
                content = os.pread(slot.descriptor, size, 0)
                if len(content) != size:
                    raise OSError(f"{len(content)} bytes arrived instead of {size}")
                self._fields = session_of, flow_file_of
                return content
        except Exception as err:  # noqa: BLE001 - a session that has ended, a field that is not there: all alike
            # One FlowFile may be to blame (its content is lost), so the way is only given up where it never worked.
            self.works = self._fields is not None
            _warn_once("contents cross the bridge in base64", err)
            return None

    def writer(self, flow_file: Any) -> Callable[[bytes], bool] | None:
        """What puts a content into the FlowFile, and says whether it could; None where that cannot be."""
        try:
            session_of, flow_file_of = self._fields or self._find_fields(flow_file)
            session, inside = session_of.get(flow_file), flow_file_of.get(flow_file)
        except Exception as err:  # noqa: BLE001 - as in `read`
            _warn_once("contents cross back in base64", err)
            return None

        def write(content: bytes) -> bool:
            try:
                with self._slot(flow_file) as slot:
                    view, at = memoryview(content), 0
                    while at < len(view):
                        at += os.pwrite(slot.descriptor, view[at:], at)
                    file_input = sys.modules[type(flow_file).__module__].JavaClass(
                        "java.io.FileInputStream", flow_file._gateway_client
                    )
                    stream = file_input(slot.path.toFile())
                    try:
                        session.importFrom(stream, inside)
                    finally:
                        stream.close()
                return True
            except Exception as err:  # noqa: BLE001 - whatever it is, NiFi still takes the content as text
                _warn_once("contents cross back in base64", err)
                return False

        return write

    def _find_fields(self, flow_file: Any) -> tuple[Any, Any]:
        """The private fields of the JVM's object. Its class is loaded once, so they hold for every later one."""
        kind = flow_file.getClass()
        fields = kind.getDeclaredField("session"), kind.getDeclaredField("flowFile")
        for field in fields:
            field.setAccessible(True)
        return fields

    @contextmanager
    def _slot(self, flow_file: Any) -> Iterator[_Slot]:
        with self._lock:
            slot = self._idle.pop() if self._idle else None
        if slot is None:
            py4j = sys.modules[type(flow_file).__module__]
            slot = _Slot(py4j.JavaClass("java.io.File", flow_file._gateway_client))
        try:
            yield slot
        finally:
            os.ftruncate(slot.descriptor, 0)  # also what Java wrote before it failed
            with self._lock:
                self._idle.append(slot)


_handover = _Handover()


def _warn_once(consequence: str, err: Exception) -> None:
    if consequence not in _warned:
        _warned.add(consequence)
        log.warning("NiFi's Python bridge is not as expected, %s: %s: %s", consequence, type(err).__name__, err)
