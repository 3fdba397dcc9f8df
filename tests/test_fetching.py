"""Images by URI: read inside the allowed locations only, within bytes and time, and told apart by what a retry changes."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagewarehouse.errors import (
    ConfigurationError,
    TooLarge,
    UriNotAllowed,
    UriNotReadable,
    UriUnavailable,
    WarehouseError,
)
from imagewarehouse.limits import Limits
from imagewarehouse.objects import fetching
from imagewarehouse.objects.fetching import Fetcher, parse_locations

IMAGE = b"\xff\xd8 not really a picture"


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def fetch_all(locations: str, uris: list[str], limits: Limits = Limits(), most: int = 1 << 20) -> list[object]:  # noqa: B008
    """The bytes of each URI, or its error."""

    def one(uri: str, fetch: fetching.Fetch) -> object:
        try:
            return fetch(uri, most)
        except WarehouseError as err:
            return err

    fetcher = Fetcher(parse_locations(locations), limits)
    try:
        return fetcher.for_each(one, uris)
    finally:
        fetcher.close()


def fetch_one(folder: Path, uri: str, limits: Limits = Limits(), most: int = 1 << 20) -> bytes:  # noqa: B008
    (found,) = fetch_all(folder.as_uri(), [uri], limits, most)
    if isinstance(found, WarehouseError):
        raise found
    assert isinstance(found, bytes)
    return found


@pytest.mark.parametrize(
    "text", ["s3://", "gs://", "file:///", "file://", "hdfs://namenode", "abfs://", "/srv/in", "s3"]
)
def test_a_prefix_needs_a_bucket_or_a_folder(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_locations(f"s3://bucket/in/?region=x,{text}")
    assert caught.value.setting == "Allowed Image URIs"


@pytest.mark.parametrize("text", ["webhdfs://namenode:9870/in", "swebhdfs://namenode:9871/in", "hbase://thrift/in"])
def test_a_store_that_images_are_not_fetched_from_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="images are not fetched by") as caught:
        parse_locations(text)
    assert caught.value.setting == "Allowed Image URIs"


@pytest.mark.parametrize("text", ["file:///srv/in/../secret", "s3://bucket/./in"])
def test_a_prefix_has_no_way_back_in_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"without \. and \.\."):
        parse_locations(text)


@pytest.mark.parametrize(("limit", "fits"), [(len(IMAGE), True), (len(IMAGE) - 1, False), (1, False)])
def test_an_object_is_read_up_to_the_limit_and_not_a_byte_more(incoming: Path, limit: int, fits: bool) -> None:
    (incoming / "a.png").write_bytes(IMAGE)
    uri = (incoming / "a.png").as_uri()
    if fits:
        assert fetch_one(incoming, uri, most=limit) == IMAGE
    else:
        with pytest.raises(TooLarge, match=str(limit)):
            fetch_one(incoming, uri, most=limit)


def test_a_huge_object_is_refused_before_it_is_in_memory(incoming: Path) -> None:
    with (incoming / "huge.png").open("wb") as file:
        file.truncate(256 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            fetch_one(incoming, (incoming / "huge.png").as_uri(), most=1000)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.png.gz", "a.png.bz2", "with space.png", "ümlaut.png"])
def test_an_object_is_read_as_it_is_whatever_its_name(incoming: Path, name: str) -> None:
    packed = gzip.compress(IMAGE)
    (incoming / name).write_bytes(packed)
    assert fetch_one(incoming, (incoming / name).as_uri()) == packed


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "socket", "through-a-file", "long-name"])
def test_what_is_no_file_is_refused_at_once(incoming: Path, kind: str) -> None:
    at = incoming / "it"
    if kind == "folder":
        at.mkdir()
    elif kind == "pipe":  # opening one waits for a writer
        os.mkfifo(at)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(at))
    elif kind == "through-a-file":
        at.write_bytes(b"x")
        at = at / "a.png"
    uri = (incoming / ("n" * 300)).as_uri() if kind == "long-name" else at.as_uri()
    started = time.monotonic()
    with pytest.raises(UriNotReadable):
        fetch_one(incoming, uri)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "lay",
    [
        pytest.param(lambda folder: (folder / "a.png").symlink_to(folder.parent / "secret.png"), id="file"),
        pytest.param(lambda folder: (folder / "a.png").symlink_to("../secret.png"), id="relative"),
        pytest.param(lambda folder: (folder / "sub").symlink_to(folder.parent), id="folder"),
        pytest.param(lambda folder: (folder / "sub").symlink_to("/"), id="root"),
    ],
)
def test_no_link_leads_out_of_a_folder(incoming: Path, lay: Callable[[Path], None]) -> None:
    (incoming.parent / "secret.png").write_bytes(IMAGE)
    lay(incoming)
    uris = [(incoming / "a.png").as_uri(), (incoming / "sub" / "secret.png").as_uri(),
            f"{(incoming / 'sub').as_uri()}{incoming.parent / 'secret.png'}"]  # fmt: skip
    found = fetch_all(incoming.as_uri(), uris)
    assert all(isinstance(one, UriNotReadable) for one in found), found
    assert any("links are not followed" in str(one) for one in found)


def test_the_folder_itself_may_be_a_link_of_the_operator(tmp_path: Path, incoming: Path) -> None:
    (incoming / "a.png").write_bytes(IMAGE)
    (tmp_path / "current").symlink_to(incoming)
    assert fetch_one(tmp_path / "current", (tmp_path / "current" / "a.png").as_uri()) == IMAGE


@pytest.mark.parametrize(
    "rest", ["/../secret.png", "/%2e%2e/secret.png", "/sub/../../secret.png", "secret.png", "", "/"]
)
def test_no_text_leads_out_of_a_folder(incoming: Path, rest: str) -> None:
    (incoming.parent / "secret.png").write_bytes(IMAGE)
    with pytest.raises(UriNotAllowed):
        fetch_one(incoming, incoming.as_uri() + rest)


def test_the_images_of_one_package_have_a_total(incoming: Path) -> None:
    uris = []
    for number in range(4):
        (incoming / f"{number}.png").write_bytes(bytes(600_000))
        uris.append((incoming / f"{number}.png").as_uri())
    limits = Limits(max_bytes=1 << 20, fetch_bytes=2 << 20)
    found = fetch_all(incoming.as_uri(), uris, limits)
    assert sum(isinstance(one, bytes) for one in found) == 3
    (refused,) = (one for one in found if not isinstance(one, bytes))
    assert isinstance(refused, UriUnavailable)
    assert "2 MB" in str(refused)
    assert fetch_all(incoming.as_uri(), uris[:3], limits) == [bytes(600_000)] * 3  # the next package has its own


@pytest.fixture
def deaf() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_store_that_does_not_answer_costs_a_package_its_time_and_no_more(deaf: int) -> None:
    where = f"s3://key:secret@bucket/in?scheme=http&region=x&endpoint_override=127.0.0.1:{deaf}"
    started = time.monotonic()
    found = fetch_all(where, [f"s3://bucket/in/{number}.png" for number in range(20)], Limits(fetch_seconds=1))
    assert time.monotonic() - started < 5
    assert {type(one) for one in found} == {UriUnavailable}
    assert "within 1 s" in str(found[0])
    assert "secret" not in str(found)


def test_a_store_that_does_not_answer_keeps_no_other_from_being_read(deaf: int, incoming: Path) -> None:
    (incoming / "a.png").write_bytes(IMAGE)
    where = f"s3://key:secret@bucket/in?scheme=http&region=x&endpoint_override=127.0.0.1:{deaf}"
    fetcher = Fetcher(parse_locations(f"{where},{incoming.as_uri()}"), Limits(fetch_seconds=1))

    def one(uri: str, fetch: fetching.Fetch) -> object:
        try:
            return fetch(uri, 1000)
        except UriUnavailable as err:
            return err

    assert {type(found) for found in fetcher.for_each(one, [f"s3://bucket/in/{n}.png" for n in range(8)])} == {
        UriUnavailable
    }
    assert fetcher.for_each(one, [(incoming / "a.png").as_uri()]) == [IMAGE]  # within its own second
    fetcher.close()


def test_a_store_that_does_not_answer_does_not_keep_the_process_from_its_end(deaf: int) -> None:
    script = f"""
from imagewarehouse.errors import UriUnavailable
from imagewarehouse.limits import Limits
from imagewarehouse.objects.fetching import Fetcher, parse_locations
where = "s3://key:secret@bucket/in?scheme=http&region=x&endpoint_override=127.0.0.1:{deaf}"
try:
    Fetcher(parse_locations(where), Limits(fetch_seconds=1)).for_each(lambda uri, fetch: fetch(uri, 1000), ["s3://bucket/in/a"])
except UriUnavailable:
    print("told")
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "told\n", done.stderr
    assert time.monotonic() - started < 15


def test_reads_that_were_given_up_do_not_fill_every_thread_for_ever(
    incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (incoming / "a.png").write_bytes(IMAGE)
    gate = threading.Event()
    whole = fetching.open_below

    def slow(root: str, key: str) -> object:
        gate.wait(20)
        return whole(root, key)

    monkeypatch.setattr(fetching, "open_below", slow)
    fetcher = Fetcher(parse_locations(incoming.as_uri()), Limits(fetch_seconds=1))
    uri = (incoming / "a.png").as_uri()

    def one(_: int, fetch: fetching.Fetch) -> object:
        try:
            return fetch(uri, 1000)
        except UriUnavailable as err:
            return err

    assert {type(found) for found in fetcher.for_each(one, range(8))} == {UriUnavailable}
    started = time.monotonic()
    (refused,) = fetcher.for_each(one, [0])  # all threads still wait: it is said at once
    assert (type(refused), time.monotonic() - started < 0.9) == (UriUnavailable, True)
    gate.set()
    until = time.monotonic() + 10
    while (found := fetcher.for_each(one, [0])) != [IMAGE]:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    fetcher.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "No such file"), UriNotReadable),
        (PermissionError(13, "Permission denied"), UriNotReadable),
        (OSError(5, "Input/output error"), UriUnavailable),
        (ConnectionResetError(104, "Connection reset by peer"), UriUnavailable),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject operation"), UriUnavailable),
    ],
)
def test_what_may_pass_later_is_told_from_what_never_will(
    incoming: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[WarehouseError]
) -> None:
    def broken(root: str, key: str) -> object:
        raise error

    monkeypatch.setattr(fetching, "open_below", broken)
    with pytest.raises(kind) as caught:
        fetch_one(incoming, (incoming / "a.png").as_uri())
    assert caught.value.retryable == (kind is UriUnavailable)
