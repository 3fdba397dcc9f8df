"""Stores that fail, each in its own way: one clear line, the right way on for the image, and stored once the store is back."""

from __future__ import annotations

import errno
import getpass
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from imagewarehouse.errors import (
    ConfigurationError,
    ObjectConflict,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    ObjectTooLarge,
)
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.steps.outcome import FAILURE, REFUSED, RETRY, SUCCESS
from imagewarehouse.steps.storing import StoreImages
from tests import hostile
from tests.object_services import PATIENT, S3_READER, S3_READER_SECRET, Service, inside, s3_uri
from tests.test_steps import NOBODY, WAITS, AnImage, event

CONTENT = hostile.PNG
IMAGE_ID = hashlib.sha256(CONTENT).hexdigest()
KEY = f"{IMAGE_ID[:2]}/{IMAGE_ID}.png"
SOON = StoreSettings(connect_s=0.5, answer_s=0.5)
SECRETS = ("top/secret", "top%2Fsecret", "read/secret", "wrong", "AKEY", "READER", "topsecret")


def unavailable(images: ImageStore) -> ObjectStoreUnavailable:
    """What a put raises, after a look at its text."""
    with pytest.raises(ObjectStoreUnavailable) as caught:
        images.put(IMAGE_ID, "PNG", CONTENT)
    said = str(caught.value)
    assert said.startswith(f"{images.location}/{KEY}: ")
    assert "\n" not in said
    assert len(said) < 500
    assert [secret for secret in SECRETS if secret in said] == []
    assert caught.value.retryable
    return caught.value


def ways(images: ImageStore) -> list[str]:
    """Of an image that was acknowledged, and of one that a client waits for."""
    step = StoreImages(images)
    outcomes = step.process([AnImage(event(sender=NOBODY))]) + step.process([AnImage(event(sender=WAITS))])
    return [outcome.way for outcome in outcomes]


def opened(uri: str, settings: StoreSettings = SOON) -> ImageStore:
    return ImageStore(open_store(Location.parse(uri), settings))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- any store across a network -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    ["s3://AKEY:topsecret@bucket?scheme=http&region=x&endpoint_override=127.0.0.1:{port}",
     "webhdfs://somebody@127.0.0.1:{port}/open", "hbase://127.0.0.1:{port}/images"],
    ids=["s3", "webhdfs", "hbase"],
)  # fmt: skip
@pytest.mark.parametrize("fault", ["nobody-listens", "no-answer"])
def test_a_store_that_does_not_answer_is_said_within_seconds(uri: str, fault: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if fault == "no-answer" else closed_port()
        images = opened(uri.format(port=port))
        began = time.monotonic()
        err = unavailable(images)
        assert time.monotonic() - began < 10
        assert not isinstance(err, ObjectStoreRefused)
        said = ("no answer in time",) if fault == "no-answer" else ("onnection refused", "Could not connect to")
        assert any(text in str(err) for text in said), err
        assert ways(images) == [RETRY, REFUSED]
        with pytest.raises(ConfigurationError, match="cannot be written"):
            images.check_writable()
        images.close()


def test_a_batch_does_not_try_each_image_of_a_store_that_is_away() -> None:
    images = opened(f"s3://AKEY:topsecret@bucket?scheme=http&region=x&endpoint_override=127.0.0.1:{closed_port()}")
    began = time.monotonic()
    outcomes = StoreImages(images).process([AnImage(event()) for _ in range(300)])
    assert {outcome.way for outcome in outcomes} == {RETRY}
    assert time.monotonic() - began < 20  # 300 images on 16 threads with three tries each would take 40 s
    images.close()


@pytest.fixture(params=["s3", pytest.param("hdfs", marks=pytest.mark.services),
                        pytest.param("hbase", marks=pytest.mark.services)])  # fmt: skip
def service_and_uri(request: pytest.FixtureRequest) -> tuple[Service, str]:
    uri = inside(request.getfixturevalue(request.param), f"t{uuid.uuid4().hex}")
    return request.getfixturevalue(f"{request.param}_service"), uri


def test_images_are_stored_when_a_store_that_stood_still_goes_on(service_and_uri: tuple[Service, str]) -> None:
    service, uri = service_and_uri
    images = opened(uri)
    service.pause()
    try:
        unavailable(images)
        assert ways(images) == [RETRY, REFUSED]
    finally:
        service.resume()
    stored(images)


def stored(images: ImageStore, seconds: float = 60) -> None:
    """The loop of the flow: again until the store takes it."""
    until = time.monotonic() + seconds
    while ways(images) != [SUCCESS, SUCCESS]:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert images.store.get(KEY) == CONTENT
    images.close()


def test_images_are_stored_when_a_killed_store_is_back(s3_service: Service, s3: str) -> None:
    images = opened(inside(s3, f"t{uuid.uuid4().hex}"), PATIENT)
    s3_service.kill()
    try:
        unavailable(images)
        assert ways(images) == [RETRY, REFUSED]
    finally:
        s3_service.start()
    stored(images)


@contextmanager
def slow(port: int, seconds: float) -> Iterator[int]:
    """A way to that port on which each answer takes so much longer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket, pause: float) -> None:
        try:
            while piece := source.recv(1 << 16):
                time.sleep(pause)
                target.sendall(piece)
        except OSError:
            pass
        finally:
            target.close()

    def serve() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=copy, args=(client, server, 0), daemon=True).start()
            threading.Thread(target=copy, args=(server, client, seconds), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def test_a_slow_store_is_waited_for_and_a_too_slow_one_is_not(s3_service: Service) -> None:
    folder = f"t{uuid.uuid4().hex}"
    with slow(s3_service.port, 0.8) as port:
        too_slow = opened(inside(s3_uri(port), folder))
        assert str(unavailable(too_slow)).endswith("no answer in time")
        patient = opened(inside(s3_uri(port), folder), StoreSettings(answer_s=60))
        assert ways(patient) == [SUCCESS, SUCCESS]
        assert patient.store.get(KEY) == CONTENT


# --- S3 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "bucket", "said"),
    [
        pytest.param("AKEY:wrong%2Fsecret", "bucket", "SignatureDoesNotMatch", id="wrong-secret"),
        pytest.param("NOBODYS:wrong%2Fsecret", "bucket", "InvalidAccessKeyId", id="unknown-key"),
        pytest.param("AKEY:top%2Fsecret", "another", "AccessDenied|NoSuchBucket", id="another-bucket"),
        pytest.param("READER:read%2Fsecret", "bucket", "AccessDenied", id="may-only-read"),
    ],
)
def test_a_store_that_says_no_is_an_operators_and_images_wait(
    s3_service: Service, s3: str, login: str, bucket: str, said: str
) -> None:
    folder = f"t{uuid.uuid4().hex}"
    images = opened(inside(s3_uri(s3_service.port, bucket, login), folder), PATIENT)
    err = unavailable(images)
    assert isinstance(err, ObjectStoreRefused)
    assert any(code in str(err) for code in said.split("|")), err
    assert ways(images) == [RETRY, REFUSED]
    with pytest.raises(ConfigurationError, match="cannot be written: ") as caught:
        images.check_writable()
    assert [secret for secret in SECRETS if secret in str(caught.value)] == []
    images.close()
    stored(opened(inside(s3, folder), PATIENT))


def test_who_may_only_read_reads(s3_service: Service, s3: str) -> None:
    folder = f"t{uuid.uuid4().hex}"
    stored(opened(inside(s3, folder), PATIENT))
    reader = open_store(
        Location.parse(f"s3://bucket/{folder}"),
        StoreSettings(endpoint=f"http://127.0.0.1:{s3_service.port}", region="eu-central-1", access_key=S3_READER,
                      secret_key=S3_READER_SECRET),
    )  # fmt: skip
    assert reader.get(KEY) == CONTENT
    assert [found.key for found in reader.list()] == [KEY]


@contextmanager
def answering(status: int, code: str, message: str) -> Iterator[int]:
    """An S3 store with that one answer."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "refused"),
    [
        pytest.param(403, "RequestTimeTooSkewed", True, id="clock-skew"),
        pytest.param(400, "ExpiredToken", True, id="credentials-that-ended"),
        pytest.param(404, "NoSuchBucket", True, id="no-such-bucket"),
        pytest.param(400, "AuthorizationHeaderMalformed", True, id="wrong-region"),
        pytest.param(503, "SlowDown", False, id="too-many-requests"),
        pytest.param(507, "InsufficientStorage", False, id="full"),
    ],
)
def test_what_a_store_answers_is_said_in_its_words(status: int, code: str, refused: bool) -> None:
    with answering(status, code, "It says why.") as port:
        images = opened(s3_uri(port), PATIENT)
        err = unavailable(images)
        assert str(err).endswith(f": {code}: It says why.")
        assert isinstance(err, ObjectStoreRefused) == refused
        images.close()


# --- folders ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_an_image_waits_until_a_full_disk_has_room(small_disk: Path) -> None:
    images = opened(str(small_disk))
    images.check_writable()
    (small_disk / "filler").write_bytes(bytes(48 << 10))
    large = os.urandom(40 << 10)
    with pytest.raises(ObjectStoreUnavailable, match=os.strerror(errno.ENOSPC)) as caught:
        images.put(hashlib.sha256(large).hexdigest(), "PNG", large)
    assert not isinstance(caught.value, ObjectStoreRefused)
    assert [path for path in (small_disk / ".parts").iterdir() if path.is_file()] == []
    (small_disk / "filler").unlink()
    uri = images.put(hashlib.sha256(large).hexdigest(), "PNG", large)
    assert images.get(uri, 1 << 20) == large


def test_an_image_waits_until_a_folder_can_be_written(small_disk: Path) -> None:
    images = opened(str(small_disk))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    err = unavailable(images)
    assert isinstance(err, ObjectStoreRefused)
    assert str(err).endswith(os.strerror(errno.EROFS))
    assert ways(images) == [RETRY, REFUSED]
    with pytest.raises(ConfigurationError, match=os.strerror(errno.EROFS)):
        images.check_writable()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    stored(images)


def test_other_bytes_under_the_key_of_an_image_are_a_failure(tmp_path: Path) -> None:
    images = opened(str(tmp_path))
    images.store.put_if_absent(KEY, b"other bytes")
    with pytest.raises(ObjectConflict):
        images.put(IMAGE_ID, "PNG", CONTENT)
    assert ways(images) == [FAILURE, FAILURE]


def test_a_file_system_without_links_still_never_shows_half_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    images = opened(str(tmp_path))
    assert images.store.put_if_absent(KEY, CONTENT) is True
    assert images.store.put_if_absent(KEY, CONTENT) is False
    assert images.store.get(KEY) == CONTENT
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(KEY).name]


# --- HDFS, HBase --------------------------------------------------------------------------------------------------


@pytest.mark.services
def test_a_folder_of_somebody_else_is_an_operators(hdfs_service: Service) -> None:
    images = opened(f"webhdfs://somebody@127.0.0.1:{hdfs_service.port}/theirs", PATIENT)
    err = unavailable(images)
    assert isinstance(err, ObjectStoreRefused)
    assert "Permission denied: user=somebody" in str(err)
    assert ways(images) == [RETRY, REFUSED]


@pytest.mark.services
def test_an_image_waits_until_a_quota_of_hdfs_has_room(hdfs_service: Service, hdfs: str) -> None:
    folder = f"t{uuid.uuid4().hex}"
    images = opened(inside(hdfs, folder), PATIENT)
    images.check_writable()
    address = f"http://127.0.0.1:{hdfs_service.port}/webhdfs/v1/open/{folder}"

    def quota(size: int) -> None:
        answer = requests.put(
            address, params={"op": "SETQUOTA", "storagespacequota": size, "user.name": getpass.getuser()}, timeout=10
        )
        assert answer.ok, answer.text

    quota(1000)
    err = unavailable(images)
    assert not isinstance(err, ObjectStoreRefused)
    assert "quota" in str(err).lower()
    quota(1 << 40)
    stored(images)


@pytest.mark.services
def test_an_image_that_no_cell_takes_is_a_failure_that_says_so(hbase: str) -> None:
    store = open_store(Location.parse(hbase))
    assert store.largest is not None
    assert store.put_if_absent(f"ab/{uuid.uuid4().hex}", bytes(store.largest))
    with pytest.raises(ObjectTooLarge, match=f"HBase takes cells of {store.largest}") as caught:
        store.put_if_absent(KEY, bytes(store.largest + 1))
    assert not caught.value.retryable


@pytest.mark.services
def test_a_table_that_is_not_there_is_an_operators_until_the_start_makes_it(hbase_service: Service) -> None:
    images = opened(f"hbase://127.0.0.1:{hbase_service.port}/t{uuid.uuid4().hex}", PATIENT)
    assert isinstance(unavailable(images), ObjectStoreRefused)
    images.check_writable()
    stored(images)


# --- clients that are not there -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "module", "how"),
    [("webhdfs://namenode:9870/images", "requests", "make nar STORES=hdfs"),
     ("hbase://thrift:9090/images", "happybase", "make nar STORES=hbase")],
)  # fmt: skip
def test_a_missing_client_is_named_with_how_to_get_it(
    uri: str, module: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=how) as caught:
        open_store(Location.parse(uri))
    assert caught.value.setting == "Store URI"
