"""`imagewarehouse send` against a small scripted service on a loopback port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.message import Message
from pathlib import Path

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import client_exceptions, web
from click.testing import CliRunner, Result
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from imagewarehouse.answers import problem
from imagewarehouse.cli.send import send
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.sending.client import Backoff, Reply, explain, judge, retry_after_s
from imagewarehouse.sending.items import ACCEPTED, FAILED, Outcome
from imagewarehouse.sending.report import NAMED_FAILURES, Display, Histogram, Tally
from imagewarehouse.sending.sources import PatternSource, count_items, each_item, open_sources
from imagewarehouse.sending.state import State

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10-test-a.parquet"
NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Seen:
    """One request as the service saw it. `attempt`: how often its key has been here, itself included."""

    path: str
    key: str
    attempt: int
    media_type: str
    file_name: str | None
    access_key: str | None
    body: bytes
    at: float


@dataclass
class Service:
    """Answers what `script` says: a response, "drop" to close the connection, a number to be slow by so many seconds."""

    script: Callable[[Seen], web.Response | str | float]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)

    def keys(self) -> dict[bytes, set[str]]:
        """Idempotency-Keys by body."""
        found: dict[bytes, set[str]] = {}
        for request in self.seen:
            found.setdefault(request.body, set()).add(request.key)
        return found

    async def handle(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        message = Message()
        message["Content-Disposition"] = request.headers.get("Content-Disposition", "")
        seen = Seen(
            request.path,
            key,
            1 + sum(earlier.key == key for earlier in self.seen),
            request.headers["Content-Type"],
            message.get_filename(),
            request.headers.get("X-Access-Key"),
            await request.read(),
            time.monotonic(),
        )
        self.seen.append(seen)
        answer = self.script(seen)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = classified(seen)
        if isinstance(answer, str):
            request.transport.abort()
            return web.Response()
        return answer


def classified(seen: Seen, name: str = "cat", confidence: float = 0.75) -> web.Response:
    if seen.path.endswith("/images"):
        return web.json_response({"request_id": seen.key}, status=202)
    return web.json_response(
        {"request_id": seen.key, "status": "classified", "predicted_class": name, "confidence": confidence, "top_k": []}
    )


def busy(retry_after: str = "0") -> web.Response:
    return web.Response(status=503, headers={"Retry-After": retry_after})


def refused(code: str, detail: str = "no luck") -> web.Response:
    answer = problem(code, detail)
    return web.Response(status=answer.status, body=answer.body, content_type=answer.media_type)


@pytest.fixture
def service() -> Iterator[Service]:
    scripted = Service(classified)
    started = threading.Event()
    stops: list[Callable[[], object]] = []

    async def serve() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", scripted.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}/classify"
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield scripted
    stops[0]()
    thread.join(10)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off of milliseconds where the waiting itself is not what is tested."""
    monkeypatch.setattr(Backoff, "delay", lambda *_: 0.005)


def call(
    service: Service | str, *arguments: object, stdin: bytes | None = None, env: dict[str, str] | None = None
) -> Result:
    url = service if isinstance(service, str) else service.url
    environment = {"IMAGEWAREHOUSE_ACCESS_KEY": None, "COLUMNS": "160"} | (env or {})
    result = CliRunner().invoke(send, ["--url", url, *map(str, arguments)], input=stdin, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write_images(folder: Path, number: int, prefix: str = "image") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{prefix}{i:03}.jpg" for i in range(number)]
    for i, path in enumerate(paths):
        path.write_bytes(JPEG + f"{prefix}{i}".encode())
    return paths


def write_parquet(file: Path, images: list[bytes | None], /, **columns: list[object]) -> Path:
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), **columns}), file, row_group_size=4)
    return file


def closed_port() -> str:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/classify"


# --- one image, one row -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_quick")
def test_retries_keep_the_idempotency_key_of_their_image(service: Service, tmp_path: Path) -> None:
    troubles: list[object] = [busy, lambda: "drop", lambda: web.Response(status=502)]
    service.script = lambda seen: troubles[seen.attempt - 1]() if seen.attempt <= 3 else classified(seen)  # type: ignore[operator]
    write_images(tmp_path, 3)

    result = call(service, tmp_path, "--json", tmp_path / "out.jsonl")

    assert result.exit_code == 0, result.output
    assert [len(keys) for keys in service.keys().values()] == [1, 1, 1]
    assert len({request.key for request in service.seen}) == 3
    assert len(service.seen) == 12
    assert {json.loads(line)["attempts"] for line in (tmp_path / "out.jsonl").open()} == {4}
    assert "9 retries" in result.stdout
    age = datetime.now(timezone.utc) - event_time(service.seen[0].key)
    assert timedelta(0) <= age < timedelta(minutes=5)


def test_retry_after_is_waited_for(service: Service, tmp_path: Path) -> None:
    service.script = lambda seen: busy("1") if seen.attempt == 1 else classified(seen)
    call(service, *write_images(tmp_path, 1))
    first, second = service.seen
    assert second.at - first.at >= 0.99


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("Fri, 02 Jan 2026 00:00:05 GMT", 5.0, id="date"),
        pytest.param("Fri, 02 Jan 2025 00:00:05 GMT", 0.0, id="date-gone-by"),
        pytest.param("soon", None, id="nonsense"),
        pytest.param(None, None, id="none"),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


def test_back_off_grows_to_its_cap_and_never_undercuts_what_was_asked() -> None:
    backoff = Backoff(base_s=0.25, cap_s=30.0)
    longest = [backoff.delay(attempt, None, lambda _, high: high) for attempt in (1, 2, 3, 8, 60)]
    assert longest == [0.25, 0.5, 1.0, 30.0, 30.0]
    assert backoff.delay(1, None, lambda low, _: low) == 0.125
    assert backoff.delay(1, 5.0, lambda low, _: low) == 5.0
    assert backoff.delay(1, 3600.0, lambda low, _: low) == 30.0


@pytest.mark.usefixtures("_quick")
def test_slow_answer_is_a_timeout_and_tried_again(service: Service, tmp_path: Path) -> None:
    service.script = lambda seen: 30.0 if seen.attempt == 1 else classified(seen)
    result = call(service, *write_images(tmp_path, 1), "--timeout", "0.5", "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["attempts"] == 2
    assert len(service.keys()) == 1


@pytest.mark.usefixtures("_quick")
def test_what_stays_busy_has_failed_and_the_others_go_on(service: Service, tmp_path: Path) -> None:
    service.script = lambda seen: busy() if seen.file_name == "image001.jpg" else classified(seen)
    result = call(service, *write_images(tmp_path, 3), "--retries", "2")
    assert result.exit_code == 1
    assert Counter(request.file_name for request in service.seen)["image001.jpg"] == 3
    assert "http.503" in result.stdout
    assert "2 accepted, 0 rejected, 1 failed" in result.stdout


# --- what is sent -------------------------------------------------------------------------------------------------


def test_folder_pattern_and_parquet_are_all_sent_in_order(service: Service, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_images(photos, 2, "b")
    write_images(photos / "below", 1, "a")
    write_images(photos / ".hidden", 1, "hidden")
    (photos / ".a.jpg").write_bytes(JPEG)
    (photos / "notes.txt").write_text("no image")
    (photos / "again").symlink_to(photos)
    write_images(tmp_path / "x" / "y" / "x", 1, "deep")
    table = write_parquet(
        tmp_path / "rows.parquet",
        [JPEG + b"0", PNG + b"1", None, JPEG + b"3", JPEG + b"4", b"GIF89a5"],
        path=["test/cat/0.jpg", None, "2.jpg", "3.jpg", "4.jpg", None],
        **{"class": ["cat", "cat", "cat", "dog", None, "dog"]},
    )
    out = tmp_path / "out.jsonl"

    result = call(
        service, photos, tmp_path / "**" / "x" / "**" / "*.jpg", table, "--connections", "1", "--json", out
    )  # fmt: skip

    assert [(request.file_name, request.media_type) for request in service.seen] == [
        ("b000.jpg", "image/jpeg"),
        ("b001.jpg", "image/jpeg"),
        ("a000.jpg", "image/jpeg"),
        ("deep000.jpg", "image/jpeg"),
        ("0.jpg", "image/jpeg"),
        ("rows-1.png", "image/png"),
        ("3.jpg", "image/jpeg"),
        ("4.jpg", "image/jpeg"),
        ("rows-5.gif", "image/gif"),
    ]
    assert result.exit_code == 1  # the row without an image
    assert "accuracy 0.5000: 2 of 4 images with a known class" in result.stdout
    assert "the row has no image" in result.stdout
    lines = [json.loads(line) for line in out.open()]
    assert lines[4]["source"] == f"{table}#0"
    assert lines[6] | {"source": ""} == {
        "source": "", "status": "failed", "request_id": None, "predicted_class": None, "confidence": None, "ms": None,
        "attempts": 0, "error_code": "source.unreadable", "error_detail": "the row has no image",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        pytest.param("*.jpg", ["a.jpg"], id="star-stays-in-its-folder"),
        pytest.param("**/*.jpg", ["a.jpg", "d/b.jpg", "d/d/c.jpg"], id="two-stars-mean-any-depth"),
        pytest.param("**", ["a.jpg", "n.txt", "d/b.jpg", "d/d/c.jpg"], id="two-stars-at-the-end"),
        pytest.param("**/**/d/**/*.jpg", ["d/b.jpg", "d/d/c.jpg"], id="nothing-twice"),
        pytest.param("d/?.jpg", ["d/b.jpg"], id="question-mark"),
        pytest.param("[ab].*", ["a.jpg"], id="set"),
        pytest.param("*/d/c.jpg", ["d/d/c.jpg"], id="plain-part-behind-a-star"),
        pytest.param(".*/*", [".h/e.jpg"], id="hidden-only-when-asked-for"),
        pytest.param("nowhere/*", [], id="no-such-folder"),
    ],
)
def test_pattern_matches(pattern: str, matches: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "n.txt", "d/b.jpg", "d/d/c.jpg", ".h/e.jpg", "d/.f.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert [item.source for item in PatternSource(pattern).items()] == matches


def test_skip_and_limit_count_through_all_sources(service: Service, tmp_path: Path) -> None:
    first = write_images(tmp_path / "first", 3)
    table = write_parquet(tmp_path / "t.parquet", [JPEG + bytes([i]) for i in range(10)])
    result = call(service, tmp_path / "first", table, first[0], "--skip", "8", "--limit", "5", "--connections", "1")
    assert result.exit_code == 0
    assert [request.body for request in service.seen] == [JPEG + bytes([i]) for i in range(5, 10)]
    opened = open_sources([str(tmp_path / "first"), str(tmp_path / "*.parquet")], sys.stdin.buffer)
    assert count_items(opened, 8, None) == 5
    assert count_items(opened, 2, 3) == 3
    assert len(list(each_item(opened, 2, 3))) == 3


def test_name_type_and_access_key_arrive(service: Service, tmp_path: Path) -> None:
    path = tmp_path / 'Käse "50%"; 🧀.png'
    path.write_bytes(b"anything")
    call(service, path, env={"IMAGEWAREHOUSE_ACCESS_KEY": "0123456789abcdef"})
    call(service, path, "--type", "image/webp")
    by_name, overridden = service.seen
    assert (by_name.file_name, by_name.media_type) == (path.name, "image/png")
    assert (by_name.access_key, overridden.access_key) == ("0123456789abcdef", None)
    assert overridden.media_type == "image/webp"


def test_standard_input_is_one_image_told_by_its_bytes(service: Service) -> None:
    result = call(service, "-", "--json", "-", stdin=PNG + b"...")
    assert result.exit_code == 0
    assert (service.seen[0].media_type, service.seen[0].file_name) == ("image/png", None)
    assert service.seen[0].body == PNG + b"..."
    assert json.loads(result.stdout)["source"] == "-"


def test_large_image_arrives_whole(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(JPEG + os.urandom(3_000_000))
    assert call(service, path).exit_code == 0
    assert service.seen[0].body == path.read_bytes()


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not here")
def test_shared_parquet_file_is_read(service: Service) -> None:
    call(service, SHARED, "--skip", "2000", "--limit", "3", "--connections", "1")
    assert [request.file_name for request in service.seen] == [
        Path(path).name for path in pq.read_table(SHARED, columns=["path"])["path"].to_pylist()[2000:2003]
    ]


# --- what cannot be read ------------------------------------------------------------------------------------------


def test_unreadable_file_in_a_folder_is_counted_and_the_others_go_on(service: Service, tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    (tmp_path / "image000a.jpg").symlink_to(tmp_path / "gone.jpg")
    result = call(service, tmp_path)
    assert result.exit_code == 1
    assert len(service.seen) == 2
    assert "source.unreadable" in result.stdout
    assert "image000a.jpg" in result.stdout
    assert "no such file" in result.stdout


def test_broken_row_group_is_counted_and_the_next_one_goes_on(service: Service, tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "t.parquet", [JPEG + os.urandom(2000) for _ in range(12)])
    chunk = pq.ParquetFile(table).metadata.row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(table.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    table.write_bytes(content)
    result = call(service, table)
    assert result.exit_code == 1
    assert len(service.seen) == 8
    assert "8 accepted, 0 rejected, 1 failed" in result.stdout
    assert "rows 4 to 7" in result.stdout


# --- exit codes and summary ---------------------------------------------------------------------------------------


def test_rejections_are_named_with_code_and_detail(service: Service, tmp_path: Path) -> None:
    def script(seen: Seen) -> web.Response:
        number = int(seen.body[len(JPEG) + len("image") :])
        return classified(seen) if number < 5 else refused("image.not_an_image", "the content is \x1b[31mHTML")

    service.script = script
    result = call(service, tmp_path, *write_images(tmp_path / "in", 30)[:0], "--connections", "1")
    assert result.exit_code == 1
    assert "5 accepted, 25 rejected, 0 failed; 0 retries" in result.stdout
    assert result.stdout.count("not accepted: ") == 20
    assert "and 5 more" in result.stdout
    assert "image.not_an_image" in result.stdout
    assert "\x1b" not in result.stdout
    assert len(service.seen) == 30  # a rejection is final


def test_summary_counts_classes_and_latencies(service: Service, tmp_path: Path) -> None:
    service.script = lambda seen: classified(seen, *(("dog", 0.5) if seen.body.endswith(b"1") else ("cat", 0.9)))
    result = call(service, *write_images(tmp_path, 3), "--no-progress")
    assert result.exit_code == 0
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["cat", "2", "0.900"] in words
    assert ["dog", "1", "0.500"] in words
    assert all(name in result.stdout for name in ("p50", "p90", "p99", "max", "images/s"))
    assert "accuracy" not in result.stdout
    assert result.stderr == ""


def test_images_endpoint_needs_no_class(service: Service, tmp_path: Path) -> None:
    result = call(service.url.replace("/classify", "/images"), *write_images(tmp_path, 2), "--json", "-")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(line["status"], line["predicted_class"]) for line in lines} == {("accepted", None)}
    assert {line["request_id"] for line in lines} == {request.key for request in service.seen}


def test_answer_without_a_record_is_no_acceptance(service: Service, tmp_path: Path) -> None:
    service.script = lambda _: web.Response(text="<h1>It works!</h1>")
    result = call(service, *write_images(tmp_path, 1))
    assert result.exit_code == 1
    assert "answer.not_understood" in result.stdout


def test_json_lines_alone_are_on_standard_output(service: Service, tmp_path: Path) -> None:
    service.script = lambda seen: (
        classified(seen) if seen.body.endswith(b"0") else refused("image.truncated", "cut off")
    )
    result = call(service, *write_images(tmp_path, 2), "--json", "-", "--connections", "1")
    accepted, rejected = (json.loads(line) for line in result.stdout.splitlines())
    assert accepted.pop("ms") > 0
    assert accepted == {
        "source": str(tmp_path / "image000.jpg"), "status": "accepted", "request_id": service.seen[0].key,
        "predicted_class": "cat", "confidence": 0.75, "attempts": 1, "error_code": None, "error_detail": None,
    }  # fmt: skip
    assert (rejected["status"], rejected["error_code"]) == ("rejected", "image.truncated")
    assert "1 accepted, 1 rejected" in result.stderr


def test_quiet_prints_errors_only(service: Service, tmp_path: Path) -> None:
    good = call(service, *write_images(tmp_path, 2), "--quiet")
    assert (good.exit_code, good.output) == (0, "")
    service.script = lambda _: refused("image.corrupt")
    bad = call(service, *write_images(tmp_path, 2), "--quiet")
    assert (bad.exit_code, bad.output) == (1, "Error: 2 of 2 images were not accepted\n")


def test_progress_is_lines_where_there_is_no_terminal(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Display, "LINE_EVERY_S", 0.0)
    service.script = lambda seen: 0.3
    result = call(service, *write_images(tmp_path, 2), "--progress", "--connections", "1")
    assert "1 of 2 images" in result.stderr
    assert "left" in result.stderr


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        pytest.param((200, b'{"request_id": "x", "confidence": 1}'), "accepted", None, id="record"),
        pytest.param((200, b"[]"), "failed", "answer.not_understood", id="no-record"),
        pytest.param((400, b'{"error_code": "request.no_body"}'), "rejected", "request.no_body", id="no-body"),
        pytest.param((400, b'{"error_code": "request.bad_idempotency_key"}'), "failed",
                     "request.bad_idempotency_key", id="key-refused-says-nothing-about-the-image"),
        pytest.param((413, b"too large"), "rejected", "http.413", id="proxy-without-problem-details"),
        pytest.param((401, b'{"error_code": "access.key_wrong"}'), "failed", "access.key_wrong", id="wrong-key"),
        pytest.param((500, b'{"error_code": "internal"}'), "failed", "internal", id="defect"),
        pytest.param((422, b"\xff" * 10), "rejected", "http.422", id="no-text"),
        pytest.param((503, b"[" * 100_000), "failed", "http.503", id="hostile-json"),
    ],
)  # fmt: skip
def test_answer_is_judged(answer: tuple[int, bytes], status: str, code: str | None) -> None:
    fields = judge(Reply(*answer, ms=1.0), answers_later=False)
    assert (fields["status"], fields.get("error_code")) == (status, code)


# --- no service ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_quick")
def test_no_service_is_one_line_after_the_retries_of_the_first_image(tmp_path: Path) -> None:
    url = closed_port()
    write_images(tmp_path, 50)
    started = time.monotonic()
    result = call(url, tmp_path, "--retries", "2", "--json", tmp_path / "out.jsonl")
    assert result.exit_code == 1
    assert result.output == f"Error: {url} did not answer: connection refused; is `imagewarehouse run` running?\n"
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
    assert time.monotonic() - started < 5


def test_wrong_key_is_one_line_not_one_an_image(service: Service, tmp_path: Path) -> None:
    service.script = lambda _: refused("access.key_wrong", "the access key is not known here")
    secret = "a-secret-of-some-length"
    result = call(service, *write_images(tmp_path, 20), env={"IMAGEWAREHOUSE_ACCESS_KEY": secret})
    assert result.exit_code == 1
    assert len(service.seen) == 1
    assert "refused the first image: 401 access.key_wrong: the access key is not known here" in result.stderr
    assert secret not in result.output


def test_service_that_goes_away_stops_the_run(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = aiohttp.ClientSession.post
    calls = []

    def cut(self: aiohttp.ClientSession, url: str, **options: object) -> object:
        calls.append(url)
        return post(self, url if len(calls) <= 5 else closed_port(), **options)

    monkeypatch.setattr(aiohttp.ClientSession, "post", cut)
    result = call(service, *write_images(tmp_path, 60), "--retries", "0", "--connections", "4")
    assert result.exit_code == 1
    assert "stopped answering: connection refused" in result.stderr
    assert len(service.seen) == 5
    assert len(calls) < 20


def client_errors() -> Iterator[aiohttp.ClientError]:
    """One of each exception that aiohttp's client raises, so that a new one cannot slip through."""
    host = aiohttp.client_reqrep.ConnectionKey("host", 1, False, True, None, None, None)
    url = URL("http://host:1/")
    asked = aiohttp.RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)
    refused = OSError(111, "Connect call failed")
    made = {
        aiohttp.ClientConnectorCertificateError: lambda kind: kind(host, ssl.SSLCertVerificationError(1, "expired")),
        aiohttp.ClientSSLError: lambda kind: kind(host, ssl.SSLError(1, "wrong version number")),
        client_exceptions.UnixClientConnectorError: lambda kind: kind("/a.sock", host, refused),
        aiohttp.ClientConnectorError: lambda kind: kind(host, refused),
        aiohttp.ClientResponseError: lambda kind: kind(asked, (), status=400, message="bad"),
        aiohttp.ServerFingerprintMismatch: lambda kind: kind(b"a", b"b", "host", 1),
        aiohttp.InvalidURL: lambda kind: kind("http://", "bad"),
        aiohttp.ClientError: lambda kind: kind("some words"),
    }
    for kind in (value for value in vars(client_exceptions).values() if isinstance(value, type)):
        if issubclass(kind, aiohttp.ClientError):
            yield next(make for base, make in made.items() if issubclass(kind, base))(kind)


@pytest.mark.parametrize(
    "error",
    [
        *client_errors(),
        asyncio.TimeoutError(),
        ConnectionResetError(104, "x"),
        OSError("Multiple exceptions: [Errno 111] a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_exception_of_the_client_has_words(error: Exception) -> None:
    failure = explain(error, 60.0)
    assert failure.code.startswith(("connection.", "answer."))
    assert failure.detail
    assert "Errno" not in failure.detail
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        assert not failure.retryable


# --- stop and go on -----------------------------------------------------------------------------------------------


def test_ctrl_c_awaits_what_is_under_way_and_the_rest_is_sent_next_time(service: Service, tmp_path: Path) -> None:
    def interrupted(seen: Seen) -> web.Response | float:
        if len(service.seen) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            return 0.2
        return classified(seen)

    service.script = interrupted
    images, state, out = write_images(tmp_path / "in", 40), tmp_path / "state", tmp_path / "out.jsonl"
    first = call(service, tmp_path / "in", "--state", state, "--connections", "2", "--json", out)
    assert first.exit_code == 130, first.output
    assert "stopped early; under way and not answered: 0" in first.stdout
    assert 4 <= len(service.seen) < 40

    service.script = classified
    second = call(service, tmp_path / "in", "--state", state, "--json", out)
    assert second.exit_code == 0
    assert len(service.seen) == 40
    assert "answered in an earlier run" in second.stdout
    assert {json.loads(line)["source"] for line in out.open()} == set(map(str, images))

    third = call(service, tmp_path / "in", "--state", state)
    assert third.exit_code == 0
    assert len(service.seen) == 40


def test_killed_run_goes_on_with_the_same_keys(service: Service, tmp_path: Path) -> None:
    def script(seen: Seen) -> web.Response | float:
        if len(service.seen) > 3:
            reached.set()
            return 30.0
        return classified(seen)

    reached = threading.Event()
    service.script = script
    write_images(tmp_path / "in", 8)
    state = tmp_path / "state"
    options = ["--url", service.url, "--state", str(state), "--connections", "3"]
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "send", *options, str(tmp_path / "in")]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        assert reached.wait(30)
        time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
    with state.open("ab") as file:
        file.write(b'{"source": "cut o')  # as a crash of the machine would leave it

    service.script = lambda seen: refused("image.truncated") if seen.file_name == "image007.jpg" else classified(seen)
    assert call(service, tmp_path / "in", "--state", state).exit_code == 1
    assert len(service.keys()) == 8
    assert {len(keys) for keys in service.keys().values()} == {1}
    number = len(service.seen)
    assert number > 8

    again = call(service, tmp_path / "in", "--state", state)
    assert again.exit_code == 1, "not all were accepted, whichever run it was"
    assert "1 of them rejected" in again.output
    assert len(service.seen) == number


def test_failed_images_are_sent_again_under_their_key(service: Service, tmp_path: Path) -> None:
    service.script = lambda seen: web.Response(status=500) if len(service.seen) == 2 else classified(seen)
    table = write_parquet(tmp_path / "t.parquet", [JPEG + bytes([i]) for i in range(5)])
    state = tmp_path / "state"
    assert call(service, table, "--state", state).exit_code == 1
    service.script = classified
    assert call(service, table, "--state", state).exit_code == 0
    assert len(service.seen) == 6
    assert service.seen[5].body == service.seen[1].body
    assert service.seen[5].key == service.seen[1].key


@pytest.mark.parametrize(
    ("age", "kept"),
    [
        pytest.param(timedelta(days=6), True, id="six-days"),
        pytest.param(timedelta(days=8), False, id="eight-days"),
        pytest.param(timedelta(days=7) - timedelta(minutes=5), False, id="about-to-expire"),
        pytest.param(-timedelta(hours=2), False, id="from-a-clock-that-ran-ahead"),
    ],
)
def test_key_the_service_would_refuse_is_renewed(age: timedelta, kept: bool, tmp_path: Path) -> None:
    state = State(tmp_path / "state", "http://a/")
    old = state.begin("/a.jpg", NOW - age)
    state.close()
    again = State(tmp_path / "state", "http://a/")
    assert (again.begin("/a.jpg", NOW) == old) is kept
    again.close()


def test_state_finds_every_answered_image_and_no_other(tmp_path: Path) -> None:
    state = State(tmp_path / "state", "http://a/")
    for i in range(200):
        state.end(f"/{i}.jpg", new_request_id(NOW), ACCEPTED if i % 2 else FAILED)
    state.close()
    again = State(tmp_path / "state", "http://a/")
    assert [again.is_answered(f"/{i}.jpg") for i in range(200)] == [bool(i % 2) for i in range(200)]
    again.close()


def test_state_file_in_use_is_refused(service: Service, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    state = State(tmp_path / "state", service.url)
    result = call(service, *write_images(tmp_path, 1), "--state", tmp_path / "state")
    state.close()
    assert result.exit_code == 2
    assert "in use by another" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_stops_the_run(service: Service, tmp_path: Path) -> None:
    result = call(service, *write_images(tmp_path, 30), "--json", "/dev/full")
    assert result.exit_code == 1
    assert "--json: No space left on device" in result.stderr
    assert len(service.seen) < 30


# --- wrong arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["gone.jpg"], "SOURCE gone.jpg: no such file or folder", id="no-such-file"),
        pytest.param(["*.tiff"], "SOURCE *.tiff: no file matches this pattern", id="empty-pattern"),
        pytest.param(["empty"], "SOURCE empty: no file with an image suffix", id="empty-folder"),
        pytest.param(["bad.parquet"], "SOURCE bad.parquet: not a readable Parquet file", id="unreadable-parquet"),
        pytest.param(["b*.parquet"], "SOURCE bad.parquet: not a readable Parquet file", id="parquet-by-pattern"),
        pytest.param(["other.parquet"], "SOURCE other.parquet: no column `image`, only picture", id="no-image-column"),
        pytest.param(["text.parquet"], "SOURCE text.parquet: column `image` holds string", id="image-column-of-text"),
        pytest.param(["none.parquet"], "SOURCE none.parquet: no rows in it", id="parquet-without-rows"),
        pytest.param(["/dev/null"], "SOURCE /dev/null: not a regular file", id="device"),
        pytest.param(["a" * 300], "file name too long", id="name-too-long"),
        pytest.param(["-", "-"], "SOURCE -: standard input holds one image", id="standard-input-twice"),
        pytest.param(["a.jpg", "--url", "ftp://h/classify"], "--url: expected http://", id="url-of-another-kind"),
        pytest.param(["a.jpg", "--url", "http://"], "--url: expected http://", id="url-without-host"),
        pytest.param(["a.jpg", "--url", "http://h:x/"], "--url: 'http://h:x/' is not a URL", id="url-with-bad-port"),
        pytest.param(["a.jpg", "--url", "http://u:p@h/"], "--url: a password in a URL", id="url-with-password"),
        pytest.param(
            ["a.jpg", "--access-key", "a\nb"], "--access-key: empty, or with characters", id="key-with-newline"
        ),
        pytest.param(["a.jpg", "--type", "jpeg"], "--type: expected a media type", id="no-media-type"),
        pytest.param(["a.jpg", "--type", "a/b\nX: y"], "--type: expected a media type", id="header-in-type"),
        pytest.param(["a.jpg", "--cacert", "a.jpg"], "--cacert: only for https", id="cacert-without-https"),
        pytest.param(["a.jpg", "--url", "https://h/", "--cacert", "a.jpg"], "--cacert: a.jpg", id="cacert-not-pem"),
        pytest.param(["a.jpg", "--url", "https://h/", "--cert", "a.jpg"], "--cert: a.jpg", id="cert-not-pem"),
        pytest.param(["a.jpg", "--url", "https://h/", "--key", "a.jpg"], "--key: goes with --cert", id="key-alone"),
        pytest.param(["a.jpg", "--state", "a.jpg"], "--state: a.jpg exists and is no state file", id="state-not-ours"),
        pytest.param(
            ["a.jpg", "--state", "old"], "--state: old belongs to http://elsewhere/", id="state-of-another-url"
        ),
        pytest.param(["a.jpg", "--state", "no/where"], "--state: no/where: no such file", id="state-folder-missing"),
        pytest.param(["a.jpg", "--json", "no/where"], "--json: no/where: no such file", id="json-folder-missing"),
        pytest.param(["a.jpg", "--skip", "1"], "--skip: nothing is left after 1 images", id="skip-beyond-the-end"),
        pytest.param(["a.jpg", "--connections", "0"], "'--connections': 0 is not in the range", id="no-connections"),
        pytest.param(["a.jpg", "--timeout", "0"], "'--timeout': 0.0 is not in the range", id="no-time"),
        pytest.param([], "Missing argument 'SOURCE", id="nothing-to-send"),
    ],
)
def test_wrong_argument_is_one_line_that_names_it(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(JPEG)
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no image")
    Path("bad.parquet").write_bytes(b"PAR1 not really")
    pq.write_table(pa.table({"picture": [b"x"]}), "other.parquet")
    pq.write_table(pa.table({"image": ["x"]}), "text.parquet")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), "none.parquet")
    Path("old").write_text(json.dumps({"imagewarehouse_send": 1, "url": "http://elsewhere/"}) + "\n")

    result = call("http://127.0.0.1:1/classify", *arguments, stdin=JPEG)

    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stdout == ""
    assert Path("a.jpg").read_bytes() == JPEG
    said = result.stderr[result.stderr.index("Error: ") :]
    assert said.count("\n") == 1


def test_reader_that_goes_away_stops_the_run_in_one_line(service: Service, tmp_path: Path) -> None:
    service.script = lambda _: 0.05
    write_images(tmp_path, 60)
    command = [
        sys.executable,
        "-m",
        "imagewarehouse.cli.main",
        "send",
        "--url",
        service.url,
        "--json",
        "-",
        "--connections",
        "1",
    ]
    process = subprocess.Popen(
        [*command, tmp_path], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.stderr.read() == b"Error: --json: Broken pipe; stopped\n"
    process.stderr.close()
    assert len(service.seen) < 60


def test_help_needs_none_of_the_heavy_libraries() -> None:
    heavy = ("aiohttp", "pyarrow", "rich", "numpy")
    code = f"import sys, imagewarehouse.cli.send; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# --- aggregates ---------------------------------------------------------------------------------------------------


def test_histogram_is_within_one_percent() -> None:
    histogram = Histogram()
    for i in range(1, 10_001):
        histogram.add(i / 10)
    assert histogram.quantile(0.5) == pytest.approx(500, rel=0.01)
    assert histogram.quantile(0.99) == pytest.approx(990, rel=0.01)
    assert histogram.quantile(1.0) <= histogram.max == 1000


def test_made_up_classes_and_codes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tally, "MAX_KINDS", 5)
    tally = Tally()
    for i in range(50):
        tally.add(Outcome("a", "accepted", predicted_class=str(i)))
        tally.add(Outcome("a", "failed", error_code=str(i)))
    assert len(tally.classes) == len(tally.errors) == 6
    assert len(tally.named) == NAMED_FAILURES
    assert tally.done == 100
