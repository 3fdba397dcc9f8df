"""The running service from outside: real process, real HTTP, real files."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ids import new_request_id
from imagewarehouse.models.classifier import load_classifier
from imagewarehouse.models.manifest import BUNDLED_MODEL, find_version, read_manifest
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.training.run import machine
from tests.conftest import until
from tests.hostile import CASES, Case
from tests.pictures import numbered
from tests.running import Service, post

TEST_IMAGES = REPOSITORY.parent / "shared" / "data" / "cifar10-test-a.parquet"
needs_data = pytest.mark.skipif(not TEST_IMAGES.is_file(), reason="../shared/data is not beside the repository")

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


def send(service_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "send", "--url", service_url, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)


# --- answers ------------------------------------------------------------------------------------------------------


def test_it_is_ready_within_five_seconds(service: Service) -> None:
    assert service.ready_after < 5


def test_classify_answers_with_the_whole_record_and_the_row_is_there(service: Service) -> None:
    content = numbered(1)
    answer = post(
        service.classify_url, content, {**JPEG, "Content-Disposition": "attachment; filename*=UTF-8''b%C3%A4r.jpg"}
    )
    assert answer.status == 200
    record = answer.json()
    assert record["status"] == "classified"
    assert record["file_name"] == "bär.jpg"
    assert record["image_id"] == hashlib.sha256(content).hexdigest()
    assert record["source_ip"] == "127.0.0.1"
    assert 0 < record["confidence"] <= 1
    assert record["top_k"][0]["class"] == record["predicted_class"]
    row = service.rows(f"SELECT * FROM image_events WHERE request_id = '{record['request_id']}'")[0]
    assert row["predicted_class"] == record["predicted_class"]
    assert row["event_time"] == record["event_time"]
    assert Path(record["storage_uri"].removeprefix("file://")).read_bytes() == content


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_accepted_format_is_classified(service: Service, kind: str) -> None:
    answer = post(service.classify_url, numbered(7, kind=kind), {"Content-Type": f"image/{kind.lower()}"})
    assert answer.status == 200
    assert answer.json()["format"] == kind


def test_json_with_base64_is_classified_as_the_image_inside(service: Service) -> None:
    content = numbered(2, kind="PNG")
    body = json.dumps({"image": base64.b64encode(content).decode(), "file_name": "x.png"}).encode()
    record = post(service.classify_url, body, {"Content-Type": "application/json"}).json()
    assert (record["format"], record["file_name"], record["size_bytes"]) == ("PNG", "x.png", len(content))


def test_images_takes_several_files_in_one_multipart_body(service: Service) -> None:
    contents = [numbered(100 + number) for number in range(3)]
    key = new_request_id(datetime.now(timezone.utc))
    boundary = uuid.uuid4().hex
    body = (
        b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="f{n}"; filename="{n}.jpg"\r\n'
            f"Content-Type: image/jpeg\r\n\r\n".encode()
            + content
            + b"\r\n"
            for n, content in enumerate(contents)
        )
        + f"--{boundary}--\r\n".encode()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Idempotency-Key": key}
    for _ in range(2):  # the second is a retry
        answer = post(service.images_url, body, headers)
        assert (answer.status, answer.json()) == (202, {"request_id": key})
    ids = ", ".join(f"'{hashlib.sha256(content).hexdigest()}'" for content in contents)
    assert until(lambda: service.count(f"image_id IN ({ids})") == 3, 20, every=0.1)
    time.sleep(0.5)
    assert service.count(f"image_id IN ({ids})") == 3


def multipart_of(content: bytes, number: int) -> tuple[bytes, dict[str, str]]:
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return (part + content + b"\r\n") * number + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def test_hundreds_of_files_in_one_body_are_all_taken(service: Service) -> None:
    content = numbered(77)
    answer = post(service.images_url, *multipart_of(content, 300))
    assert answer.status == 202
    assert until(lambda: service.count(f"image_id = '{hashlib.sha256(content).hexdigest()}'") == 300, 20, every=0.1)


def test_a_multipart_body_that_cannot_be_read_is_not_acknowledged(service: Service) -> None:
    answer = post(service.images_url, b"--x\r\nno part", {"Content-Type": "multipart/form-data; boundary=x"})
    assert (answer.status, answer.json()["error_code"]) == (400, "request.malformed_multipart")


def test_compressed_bodies_are_refused(service: Service) -> None:
    for url in (service.classify_url, service.images_url):
        answer = post(url, numbered(), {**JPEG, "Content-Encoding": "gzip"})
        assert (answer.status, answer.json()["error_code"]) == (415, "request.encoding_not_accepted")


def test_a_huge_answer_to_a_query_is_refused(service: Service) -> None:
    with pytest.raises(ConfigurationError, match="LIMIT"):
        service.rows("SELECT repeat('x', 1000) AS x FROM range(1000000)")
    assert post(service.classify_url, numbered(1), JPEG).status == 200


def test_the_same_key_twice_leaves_one_row(service: Service) -> None:
    key = new_request_id(datetime.now(timezone.utc))
    answers = [post(service.classify_url, numbered(3), {**JPEG, "Idempotency-Key": key}).json() for _ in range(3)]
    assert {answer["request_id"] for answer in answers} == {key}
    assert service.count(f"request_id = '{key}'") == 1


@pytest.mark.parametrize("spelling", ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"])
def test_the_key_counts_however_its_header_is_spelt(service: Service, spelling: str) -> None:
    key = new_request_id(datetime.now(timezone.utc))
    assert post(service.classify_url, numbered(11), {**JPEG, spelling: key}).json()["request_id"] == key
    assert post(service.images_url, numbered(12), {**JPEG, spelling: key.upper()}).json() == {"request_id": key}
    digest = hashlib.sha256(numbered(12)).hexdigest()
    assert until(lambda: service.count(f"request_id = '{key}' AND image_id = '{digest}'") == 1, 20, every=0.1)


def test_a_key_that_cannot_be_used_is_refused_by_both_listeners(service: Service) -> None:
    for url in (service.classify_url, service.images_url):
        answer = post(url, numbered(), {**JPEG, "Idempotency-Key": "order-17"})
        assert (answer.status, answer.json()["error_code"]) == (400, "request.bad_idempotency_key")


def test_the_same_image_is_stored_once(service: Service) -> None:
    before = len(service.objects())
    uris = {post(service.classify_url, numbered(4), JPEG).json()["storage_uri"] for _ in range(5)}
    assert len(uris) == 1
    assert len(service.objects()) == before + 1


@pytest.mark.parametrize("case", [case for case in CASES if case.over_http], ids=lambda case: case.id)
def test_bad_input_is_answered_and_recorded_with_its_code(service: Service, case: Case) -> None:
    content = case.content() if callable(case.content) else case.content
    headers = {"Content-Type": case.declared_type} if case.declared_type else {}
    answer = post(service.classify_url, content, headers)
    problem = answer.json()
    assert (answer.status, problem["error_code"]) == (case.status, case.code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == case.status
    row = service.rows(f"SELECT status, error_code FROM image_events WHERE request_id = '{problem['request_id']}'")
    assert row == [{"status": "rejected", "error_code": case.code}]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused_with_the_one_that_works(service: Service, method: str) -> None:
    for url in (service.classify_url, service.images_url):
        answer = post(url, b"", method=method)
        assert (answer.status, answer.json()["error_code"]) == (405, "request.method_not_allowed")
        assert "POST" in answer.headers["Allow"]


def test_unknown_paths_say_what_is_served(service: Service) -> None:
    answer = post(service.classify_url + "x", numbered(), JPEG)
    assert (answer.status, answer.json()["error_code"]) == (404, "request.not_found")


def test_metrics_count_what_happened_and_show_the_index_switched_off(service: Service) -> None:
    post(service.classify_url, numbered(5), JPEG)
    text = post(service.images_url.replace("/images", "/metrics"), b"", method="GET").body.decode()
    assert 'imagewarehouse_flowfiles_total{processor="ClassifyImage",relationship="success",worker="' in text
    assert 'imagewarehouse_store_enabled{processor="PutSolrDocument"} 0.0' in text
    assert "the search index is switched off" in service.output()


# --- access keys --------------------------------------------------------------------------------------------------


def test_with_access_keys_only_their_holders_get_in_and_no_key_is_kept(tmp_path: Path) -> None:
    key = "correct-horse-battery"
    with Service(tmp_path / "data", environment={"IMAGEWAREHOUSE_ACCESS_KEYS": f"alice:{key}"}) as service:
        none = post(service.classify_url, numbered(), JPEG)
        wrong = post(service.classify_url, numbered(), {**JPEG, "X-Access-Key": key + "x"})
        right = post(service.classify_url, numbered(), {**JPEG, "X-ACCESS-KEY": key})
        bearer = post(service.classify_url, numbered(), {**JPEG, "Authorization": f"Bearer {key}"})
        post(service.images_url, numbered(9), {**JPEG, "X-Access-Key": key})
        assert until(lambda: service.count("status = 'classified'") == 3, 20, every=0.1)
        assert (none.status, none.json()["error_code"]) == (401, "access.key_missing")
        assert (wrong.status, wrong.json()["error_code"]) == (401, "access.key_wrong")
        assert "WWW-Authenticate" in none.headers
        assert [answer.json()["source_user"] for answer in (right, bearer)] == ["alice", "alice"]
        assert key not in service.output()


# --- nothing lost, nothing doubled --------------------------------------------------------------------------------


@needs_data
def test_200_images_through_send_leave_200_rows_though_the_service_is_killed_in_the_middle(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    service.start()
    done: list[subprocess.CompletedProcess[str]] = []
    arguments = (str(TEST_IMAGES), "--limit", "200", "--connections", "8", "--retries", "20")
    sender = threading.Thread(target=lambda: done.append(send(service.classify_url, *arguments)))
    sender.start()
    assert until(lambda: len(service.objects()) >= 40, 60, every=0.1)
    service.kill()
    assert len(service.objects()) < 200, "killed too late to show anything"
    with service:
        sender.join(120)
        assert done
        assert done[0].returncode == 0, done[0].stdout + done[0].stderr
        assert service.count() == 200
        assert service.count("status = 'classified'") == 200
        contents = pq.read_table(TEST_IMAGES, columns=["image"]).slice(0, 200)["image"].to_pylist()
        assert len(service.objects()) == len(set(contents))
        assert not [path for path in service.objects() if path.name.startswith(".")]


def test_what_images_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    service = Service(tmp_path / "data").start()
    contents = {number: numbered(number) for number in range(300)}
    acknowledged: list[str] = []

    def one(number: int) -> None:
        try:
            answer = post(service.images_url, contents[number], JPEG, timeout=10)
        except OSError:
            return  # killed meanwhile: this one was never acknowledged
        if answer.status == 202:
            acknowledged.append(answer.json()["request_id"])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(one, number) for number in contents]
        assert until(lambda: len(acknowledged) >= 100, 20, every=0.1)
        service.kill()
        concurrent.futures.wait(futures)
    with service:
        assert until(lambda: service.count("status = 'classified'") >= len(acknowledged), 60, every=0.1)
        found = [row["request_id"] for row in service.rows("SELECT request_id FROM image_events")]
        assert set(acknowledged) <= set(found)
        assert len(found) == len(set(found)) <= len(acknowledged) + 16  # those written whose answer was cut off
        assert until(lambda: _journalled(service) == 0, 20, every=0.1)


def test_sigterm_finishes_what_is_under_way(tmp_path: Path) -> None:
    service = Service(tmp_path / "data").start()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(post, service.images_url, numbered(number), JPEG) for number in range(60)]
        concurrent.futures.wait(sent)
        assert service.stop() == 0
    assert service.count("status = 'classified'") == 60
    assert _journalled(service) == 0
    assert "stopped" in service.output()


@pytest.mark.long
def test_a_store_that_is_away_delays_images_and_loses_none(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        objects = service.data / "objects"
        assert post(service.classify_url, numbered(1), JPEG).status == 200
        moved = service.data / "objects.away"
        objects.rename(moved)
        objects.write_text("a file where the folder was")
        assert post(service.images_url, numbered(2), JPEG).status == 202
        answer = post(service.classify_url, numbered(3), JPEG)
        assert (answer.status, answer.json()["error_code"]) == (503, "objects.unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert str(service.data) not in answer.body.decode(), "a path of ours in an answer"
        assert service.count(f"image_id = '{hashlib.sha256(numbered(3)).hexdigest()}' AND status = 'failed'") == 1
        objects.unlink()
        moved.rename(objects)
        stored = f"image_id = '{hashlib.sha256(numbered(2)).hexdigest()}' AND status = 'classified'"
        assert until(lambda: service.count(stored) == 1, 60, every=0.1)


def _journalled(service: Service) -> int:
    count = 0
    for path in service.data.glob("journal*.sqlite"):  # of each process
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            count += connection.execute("SELECT count(*) FROM entries").fetchone()[0]
    return count


def test_a_header_that_is_no_text_holds_up_neither_its_request_nor_others(service: Service) -> None:
    for url, status in ((service.classify_url, 200), (service.images_url, 202)):
        assert post(url, numbered(41), {**JPEG, "filename": "\xff.jpg"}).status == status
    assert post(service.classify_url, numbered(42), JPEG).status == 200
    stored = f"image_id = '{hashlib.sha256(numbered(41)).hexdigest()}' AND status = 'classified'"
    assert until(lambda: service.count(stored) == 2, 20, every=0.1)


# --- pressure -----------------------------------------------------------------------------------------------------


def test_full_queues_answer_503_with_retry_after_and_everything_acknowledged_arrives(tmp_path: Path) -> None:
    flow = json.loads((REPOSITORY / "flows" / "image-warehouse.json").read_text())

    def shrink(group: dict[str, object]) -> None:
        for connection in group["connections"]:  # type: ignore[attr-defined]
            connection["backPressureObjectThreshold"] = 5
        for child in group["processGroups"]:  # type: ignore[attr-defined]
            shrink(child)

    shrink(flow["flowContents"])
    small = tmp_path / "small.json"
    small.write_text(json.dumps(flow))
    service = Service(tmp_path / "data")
    service.command = lambda command=service.command: [*command(), "--flow", str(small)]  # type: ignore[method-assign]
    big = numbered(1, (3000, 2000))
    with service, concurrent.futures.ThreadPoolExecutor(48) as pool:
        answers = list(pool.map(lambda _: post(service.images_url, big, JPEG), range(400)))
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {202, 503}, {status: statuses.count(status) for status in set(statuses)}
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.json()["error_code"] == "busy"
        assert int(refused.headers["Retry-After"]) > 0
        assert until(lambda: service.count("status = 'classified'") == statuses.count(202), 60, every=0.1)


# --- the model ----------------------------------------------------------------------------------------------------


@needs_data
def test_accuracy_over_http_equals_the_manifests(tmp_path: Path) -> None:
    table = pq.read_table(TEST_IMAGES, columns=["image", "class"])
    manifest = read_manifest(find_version(BUNDLED_MODEL))
    with Service(tmp_path / "data") as service:
        lines = tmp_path / "answers.jsonl"
        done = send(service.classify_url, str(TEST_IMAGES), "--connections", "8", "--json", str(lines), "--quiet")
        assert done.returncode == 0, done.stdout + done.stderr
        answered = [json.loads(line) for line in lines.read_text().splitlines()]
        assert len(answered) == table.num_rows == 5000
        assert service.count("status = 'classified'") == 5000
        truth = {
            hashlib.sha256(image).hexdigest(): label
            for image, label in zip(table["image"].to_pylist(), table["class"].to_pylist(), strict=True)
        }
        rows = service.rows("SELECT image_id, predicted_class FROM image_events")
        served = {row["image_id"]: row["predicted_class"] for row in rows}
        classifier = load_classifier(BUNDLED_MODEL)
        for image in table["image"].to_pylist():
            assert served[hashlib.sha256(image).hexdigest()] == classifier.classify(image).predicted_class
        right = sum(truth[image_id] == predicted for image_id, predicted in served.items())
        # To the image on the kind of machine that measured it; another processor rounds otherwise.
        allowed = 1e-9 if manifest.training["machine"] == machine() else 0.001
        assert right / 5000 == pytest.approx(manifest.metrics["test_accuracy"], abs=allowed)


# --- wrong settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--flow", "nowhere.json"], "nowhere.json", id="unknown-flow"),
        pytest.param(["--flow", "README.md"], "not JSON", id="flow-that-is-none"),
        pytest.param(["--set", "model.folder=/nowhere"], "model.folder", id="missing-model"),
        pytest.param(["--set", "model.version=77"], "model.version", id="missing-model-version"),
        pytest.param(["--set", "http.images.prt=1"], "did you mean http.images.port", id="misspelt-parameter"),
        pytest.param(["--set", "http.images.port"], "NAME=VALUE", id="set-without-a-value"),
        pytest.param(["--set", "http.images.port=70000"], "http.images.port", id="port-out-of-range"),
        pytest.param(["--set", "http.images.port=abc"], "http.images.port", id="port-not-a-number"),
        pytest.param(["--set", "intake.max.size=12"], "intake.max.size", id="size-without-a-unit"),
        pytest.param(["--set", "intake.max.size=100 MB"], "http.max.request.size", id="image-larger-than-a-request"),
        pytest.param(["--set", "intake.accepted.types=image/psd"], "intake.accepted.types", id="unknown-image-type"),
        pytest.param(["--set", "intake.image.uris=/etc"], "intake.image.uris", id="uri-prefix-that-is-none"),
        pytest.param(["--set", "access.keys=alice:short"], "access.keys", id="short-access-key"),
        pytest.param(
            ["--set", "source.trusted.proxies=10.0.0.0/99"], "source.trusted.proxies", id="network-that-is-none"
        ),
        pytest.param(["--set", "store.uri=/proc/nowhere"], "store.uri", id="unwritable-image-folder"),
        pytest.param(["--set", "store.uri=gopher://x"], "store.uri", id="unknown-store"),
        pytest.param(["--set", "store.uri=s3://"], "store.uri", id="store-without-a-bucket"),
        pytest.param(["--set", "intake.image.uris=file:///"], "intake.image.uris", id="uri-prefix-without-a-folder"),
        pytest.param(["--set", "batch.max.size=65 MB"], "batch.max.size", id="packages-too-large"),
        pytest.param(["--set", "rows.database=/proc/nowhere/x"], "rows.database", id="unwritable-database"),
        pytest.param(["--set", "kudu.masters=localhost:70510"], "kudu.masters", id="port-of-kudu-that-is-none"),
        pytest.param(["--kudu", "local", "--set", "kudu.masters=localhost"], "--kudu", id="two-kudus"),
        pytest.param(["--kudu", "localhost", "--set", "kudu.keep.months=0"], "kudu.keep.months", id="keep-no-months"),
        pytest.param(["--set", "solr.url=localhost:8983"], "solr.url", id="solr-url-that-is-none"),
        pytest.param(["--data", "/proc/nowhere"], "--data", id="unwritable-data-folder"),
        pytest.param(["--nonsense"], "--nonsense", id="unknown-option"),
    ],
)
def test_a_wrong_setting_ends_in_one_line_that_names_it(tmp_path: Path, arguments: list[str], named: str) -> None:
    ports = free_ports(2)
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "run", "--data", str(tmp_path / "data")]
    if not any("http.images.port" in text for text in arguments):
        command += ["--set", f"http.images.port={ports[0]}"]
    command += ["--set", f"http.classify.port={ports[1]}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("imagewarehouse: ")
    assert named in last
    assert "Traceback" not in done.stderr


def test_it_says_where_rows_and_images_are_that_are_not_in_its_folder(tmp_path: Path) -> None:
    elsewhere = {"rows.database": str(tmp_path / "else" / "rows.duckdb"), "store.uri": str(tmp_path / "objects")}
    with Service(tmp_path / "data", elsewhere) as service:
        said = service.output()
    for contents, place in (("rows", elsewhere["rows.database"]), ("images", elsewhere["store.uri"])):
        assert f"  {contents} in {place}\n" in said
    assert f"  journal in {tmp_path / 'data'}; Ctrl-C stops" in said


def test_a_secret_among_the_arguments_is_warned_of_and_not_shown(tmp_path: Path) -> None:
    with Service(tmp_path / "data", {"access.keys": "x:SECRETSECRET12345679"}) as service:
        said = service.output()
    assert "warning: access.keys is a secret" in said
    assert "IMAGEWAREHOUSE_ACCESS_KEYS" in said
    assert "SECRETSECRET" not in said


def test_rows_as_json_have_all_their_digits(service: Service) -> None:
    sql = "SELECT 1 / 3.0::DOUBLE AS third, 0.00001::DOUBLE AS little FROM (VALUES (1))"
    command = [
        sys.executable,
        "-m",
        "imagewarehouse.cli.main",
        "rows",
        "--data",
        str(service.data),
        "--json",
        "--sql",
        sql,
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {"third": 1 / 3, "little": 0.00001}


def rows_shown(service: Service, *words: str) -> str:
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "rows", "--data", str(service.data), *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_vector_is_only_shown_to_whoever_asks_for_it_and_not_whole_to_people(service: Service) -> None:
    request_id = post(service.classify_url, numbered(1), JPEG).json()["request_id"]
    assert "embedding" not in rows_shown(service, "--request", request_id)
    assert "embedding" not in json.loads(rows_shown(service, "--json", "--limit", "1"))
    sql = "SELECT list_transform(range(128), lambda n: n::TINYINT) AS embedding, [1, 2] AS few"
    assert "[0, 1, 2, 3, ...] (128)" in rows_shown(service, "--sql", sql)
    assert "[1, 2]" in rows_shown(service, "--sql", sql)
    assert json.loads(rows_shown(service, "--json", "--sql", sql)) == {"embedding": list(range(128)), "few": [1, 2]}


def test_a_port_or_a_data_folder_in_use_is_named(service: Service, tmp_path: Path) -> None:
    for data, named in ((tmp_path / "data", "http.images.port"), (service.data, "in use by another run")):
        command = [*service.command()[:4], "--data", str(data), *service.command()[6:]]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert named in done.stderr.strip().splitlines()[-1]
    assert post(service.classify_url, numbered(1), JPEG).status == 200
