"""Several processes that serve together: ports, rows, journals and metrics, and what happens when one of them ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from imagewarehouse.ids import new_request_id
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.standalone import process, server
from imagewarehouse.standalone.journal import Journal
from imagewarehouse.standalone.metrics import of_workers
from imagewarehouse.standalone.server import bind
from tests.conftest import until
from tests.pictures import numbered
from tests.running import Service, post

JPEG = {"Content-Type": "image/jpeg"}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several processes serve on Linux only")


def together(data: Path, workers: int, settings: dict[str, str] | None = None) -> Service:
    return Service(data, settings, {"IMAGEWAREHOUSE_WORKERS": str(workers)})


def workers_of(service: Service) -> list[psutil.Process]:
    assert service.process is not None
    return psutil.Process(service.process.pid).children()


def spent(service: Service) -> list[float]:
    """Seconds of CPU of each worker."""
    return [sum(worker.cpu_times()[:2]) for worker in workers_of(service)]


def used_since(before: list[float], service: Service) -> list[float]:
    return [now - then for then, now in zip(before, spent(service), strict=True)]


def at_once(service: Service, url: str, numbers: range, connections: int = 16) -> list[int | None]:
    """Posts an image for each number over connections of their own; gives the statuses, None where there was no answer."""

    def one(number: int) -> int | None:
        try:
            return post(url, numbered(number), JPEG, timeout=30).status
        except OSError:
            return None

    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        return list(pool.map(one, numbers))


def metrics(service: Service) -> dict[str, float]:
    """Samples without labels of their own added up, by name."""
    text = post(service.classify_url.replace("/classify", "/metrics"), b"", method="GET").body.decode()
    values: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] += sample.value
    return dict(values)


def in_journals(service: Service) -> int:
    count = 0
    for path in service.data.glob("journal*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            count += connection.execute("SELECT count(*) FROM entries").fetchone()[0]
    return count


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with together(tmp_path / "data", 3) as running:
        yield running


def take_store_away(service: Service) -> Path:
    """No image can be stored any more: what was acknowledged waits in the flow, and in the journals."""
    objects = service.data / "objects"
    objects.rename(service.data / "away")
    objects.write_bytes(b"")
    return objects


# --- together -----------------------------------------------------------------------------------------------------


def test_each_of_them_serves_and_every_image_has_one_row(service: Service) -> None:
    assert len(workers_of(service)) == 3
    before = spent(service)
    assert at_once(service, service.classify_url, range(200)) == [200] * 200
    assert at_once(service, service.images_url, range(200, 300)) == [202] * 100
    assert until(lambda: service.count("status = 'classified'") == 300, 20, every=0.1)
    # 300 connections are spread by a hash: that one of three gets fewer than 50 happens once in 10 million runs.
    assert all(more > 0.05 for more in used_since(before, service))
    assert service.output().count("is ready (3 processes)") == 1


def test_what_each_of_them_would_warn_of_at_its_start_is_said_once(service: Service) -> None:
    assert service.output().count("the search index is switched off") == 1


def test_metrics_are_those_of_all_of_them_whichever_is_asked(service: Service) -> None:
    assert at_once(service, service.classify_url, range(60)) == [200] * 60
    for _ in range(12):  # each over a connection of its own
        values = metrics(service)
        assert values["imagewarehouse_http_request_seconds_count"] == 60
        assert values["imagewarehouse_workers"] == 3
        assert values["imagewarehouse_store_enabled"] == 1  # Kudu's; not one for each process


def test_a_worker_that_is_killed_takes_nothing_from_the_counters_of_the_others(service: Service) -> None:
    def answered() -> dict[str, float]:
        text = post(service.classify_url.replace("/classify", "/metrics"), b"", method="GET").body.decode()
        found = re.findall(r'http_request_seconds_count\{.*status="200",worker="(\d)"\} ([\d.]+)', text)
        return {worker: float(count) for worker, count in found}

    assert at_once(service, service.classify_url, range(120)) == [200] * 120
    before = answered()
    assert sorted(before) == ["0", "1", "2"]
    killed = workers_of(service)[-1]
    killed.kill()
    assert until(lambda: len(workers_of(service)) == 3 and killed not in workers_of(service), 20, every=0.1)
    assert until(lambda: metrics(service)["imagewarehouse_workers"] == 3, 60, every=0.1)
    after = answered()
    assert sum(after.get(worker) == count for worker, count in before.items()) == 2


def test_an_idempotency_key_makes_one_row_whichever_of_them_takes_the_retries(service: Service) -> None:
    headers = {**JPEG, "Idempotency-Key": "0199a1b2-0000-7000-8000-000000000001"}
    headers["Idempotency-Key"] = post(service.classify_url, numbered(1), JPEG).json()["request_id"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(service.classify_url, numbered(1), headers), range(24)))
    assert {answer.status for answer in answers} == {200}
    assert service.count() == 1


def test_rows_are_seen_the_moment_they_are_answered(service: Service) -> None:
    for number in range(30):
        request_id = post(service.classify_url, numbered(number), JPEG).json()["request_id"]
        assert service.count(f"request_id = '{request_id}'") == 1


def test_sigterm_stops_all_of_them_after_what_is_under_way(service: Service) -> None:
    found = workers_of(service)
    assert at_once(service, service.images_url, range(90)) == [202] * 90
    assert service.stop() == 0
    assert not any(worker.is_running() for worker in found)
    assert service.count("status = 'classified'") == 90
    assert in_journals(service) == 0
    assert re.search(r"^stopped$", service.output(), re.MULTILINE)
    assert not list(service.data.glob("*.sock"))


def test_ctrl_c_of_a_terminal_reaches_all_and_is_the_parents_to_decide(tmp_path: Path) -> None:
    service = together(tmp_path / "data", 2).start()
    at_once(service, service.images_url, range(30))
    assert service.process is not None
    for one in [*workers_of(service), psutil.Process(service.process.pid)]:
        one.send_signal(signal.SIGINT)
    assert service.process.wait(30) == 0
    assert service.count("status = 'classified'") == 30
    service.log.close()


def test_a_second_signal_does_not_wait_and_the_journal_has_the_rest(tmp_path: Path) -> None:
    service = together(tmp_path / "data", 2).start()
    objects = take_store_away(service)
    assert at_once(service, service.images_url, range(10)) == [202] * 10
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert service.process.poll() is None  # it waits for the ten
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(5) == 0
    assert "what was not finished is in the journal" in service.output()
    assert in_journals(service) == 10
    objects.unlink()
    with service:
        assert until(lambda: service.count("status = 'classified'") == 10, 20, every=0.1)


# --- one of them ends ---------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_what_it_acknowledged_gets_its_rows(service: Service) -> None:
    objects = take_store_away(service)
    assert at_once(service, service.images_url, range(60)) == [202] * 60
    victim = workers_of(service)[1]
    victim.kill()
    assert until(lambda: "was ended by SIGKILL; it is started again in 0.5 s" in service.output(), 10)
    objects.unlink()
    assert until(lambda: service.count("status = 'classified'") == 60, 40, every=0.2)
    assert until(lambda: in_journals(service) == 0, 20, every=0.1)
    assert len(workers_of(service)) == 3
    assert victim.pid not in [worker.pid for worker in workers_of(service)]
    assert at_once(service, service.classify_url, range(100, 160)) == [200] * 60


def test_connections_to_a_port_of_a_worker_that_is_being_replaced_wait(service: Service) -> None:
    for worker in workers_of(service)[:2]:
        worker.kill()
        worker.wait()
    assert at_once(service, service.classify_url, range(40), connections=8) == [200] * 40
    assert until(lambda: len(workers_of(service)) == 3, 10)


def test_whichever_of_them_is_killed_rows_go_on_into_the_database(service: Service) -> None:
    """One process moves rows from the log into DuckDB; when it ends, another does."""
    for turn in range(3):
        at_once(service, service.classify_url, range(turn * 20, turn * 20 + 20))
        workers_of(service)[0].kill()
        assert until(lambda: len(workers_of(service)) == 3, 10)
        time.sleep(1)
    assert at_once(service, service.classify_url, range(100, 120)) == [200] * 20
    written = service.count("status = 'classified'")
    assert written >= 20
    log = service.data / "rows.duckdb.log"

    def waiting() -> int:
        with closing(sqlite3.connect(log)) as connection:
            return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])

    assert until(lambda: waiting() == 0, 20, every=0.2)
    assert service.count("status = 'classified'") == written


def test_they_end_with_their_parent_and_the_next_run_takes_everything_up(tmp_path: Path) -> None:
    service = together(tmp_path / "data", 3).start()
    objects = take_store_away(service)
    assert at_once(service, service.images_url, range(30)) == [202] * 30
    found = workers_of(service)
    service.kill()
    assert until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in found), 5)
    objects.unlink()
    fewer = together(service.data, 1)
    with fewer:  # fewer than there are journals
        assert until(lambda: fewer.count("status = 'classified'") == 30, 20, every=0.1)
        assert until(lambda: in_journals(fewer) == 0, 20, every=0.1)
    assert [path.name for path in service.data.glob("journal*.sqlite")] == ["journal.sqlite"]
    service.log.close()


def test_the_others_serve_while_a_worker_cannot_start_again(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(REPOSITORY / "model" / "cifar10", models)
    with together(tmp_path / "data", 2, {"model.folder": str(models)}) as service:
        models.rename(tmp_path / "elsewhere")
        workers_of(service)[0].kill()
        assert until(lambda: len(re.findall("model.folder.*it is started again in", service.output())) >= 2, 20)
        assert at_once(service, service.classify_url, range(20)) == [200] * 20
        (tmp_path / "elsewhere").rename(models)
        assert until(lambda: len(workers_of(service)) == 2 and service.output().count("serves cifar10") >= 2, 40)
        time.sleep(0.5)
        before = spent(service)
        assert at_once(service, service.classify_url, range(200)) == [200] * 200
        assert all(more > 0.03 for more in used_since(before, service))


_HANGING = """
import os, signal, sys, time
from imagewarehouse.standalone import supervisor
supervisor._HANGS_S, supervisor._FIRST_PAUSE_S = 2.0, 0.1

class Ports:
    let_in = keep_out = staticmethod(lambda worker: None)
    close_ports = staticmethod(lambda: None)

def serve(number, ready, alive):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with open(sys.argv[1], "a+") as started:  # by both, in any order
        started.seek(0)
        first = "0" not in started.read()
        started.write(f"{number}")
    ready()
    while True:
        if number or not first:  # the first number 0 hangs
            alive()
        time.sleep(0.1)

print(supervisor.Supervisor(2, Ports(), serve).run(lambda: print("ready", flush=True), lambda: None))
"""


def test_a_worker_that_hangs_is_replaced_and_others_are_not(tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = [sys.executable, "-c", _HANGING, str(started)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert until(lambda: started.exists() and len(started.read_text()) == 3, 20)
        # The parent itself stands still for longer than a worker may hang: their signs of life have come all the same.
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        time.sleep(1)
        process.terminate()
        said, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert sorted(started.read_text()) == ["0", "0", "1"]
    assert errors.count("has hung for 2 s and is killed") == 1
    assert said.split() == ["ready", "True"]


def test_ids_that_images_answers_are_those_of_the_rows_whatever_the_access_check_says(tmp_path: Path) -> None:
    keys = {"IMAGEWAREHOUSE_WORKERS": "2", "IMAGEWAREHOUSE_ACCESS_KEYS": "alice:alice-0123456789abcdef"}
    broken = {"Content-Type": "multipart/form-data; boundary=X"}
    with Service(tmp_path / "data", environment=keys) as service:
        for content, headers in ((numbered(1), JPEG), (b"garbage", broken)):
            answer = post(service.images_url, content, headers)
            assert answer.status == 202  # a form is not read before the key is seen
            request_id = answer.json()["request_id"]
            assert until(lambda found=request_id: service.count(f"request_id = '{found}'") == 1, 10)
        assert service.count("error_code = 'access.key_missing'") == 2
        access, key = {"X-Access-Key": "alice-0123456789abcdef"}, new_request_id(datetime.now(timezone.utc))
        for more in ({}, {"Idempotency-Key": key}, {"Idempotency-Key": key}):
            answer = post(service.images_url, numbered(2), {**JPEG, **access, **more})
            request_id = answer.json()["request_id"]
            assert until(lambda found=request_id: service.count(f"request_id = '{found}'") == 1, 10)
            told = post(service.classify_url, numbered(2), {**JPEG, **access, **more}).json()["request_id"]
            assert (told == request_id) == bool(more)
            assert told != key
        assert service.count("source_user = 'alice'") == 3


def test_rows_are_read_from_the_files_while_the_first_worker_hangs(service: Service) -> None:
    assert post(service.classify_url, numbered(1), JPEG).status == 200
    first = min(workers_of(service), key=lambda worker: worker.pid)
    first.suspend()
    try:
        command = [sys.executable, "-c", _IMPATIENT, "rows", "--data", str(service.data), "--json"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    finally:
        first.resume()
    assert len(done.stdout.splitlines()) == 1


_IMPATIENT = """
from imagewarehouse.cli import main, rows
rows._ANSWER_S = 2.0
main.main()
"""


# --- starting -----------------------------------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "run", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def test_what_keeps_a_worker_from_starting_is_said_once_and_ends_the_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    models = tmp_path / "models"
    shutil.copytree(REPOSITORY / "model" / "cifar10", models)
    for path in models.glob("*/model*.tflite"):  # looked at where the model is opened: in the workers
        path.write_bytes(b"damaged")
    service = together(data, 3)
    ports = [item for name, value in service.settings.items() for item in ("--set", f"{name}={value}")]
    done = run("--data", str(data), "--workers", "3", *ports, "--set", f"model.folder={models}")
    assert (done.returncode, done.stderr.count("its sha256 is")) == (2, 1), done.stderr
    assert "Traceback" not in done.stderr
    with service:  # nothing is left that holds the ports or the folder
        assert post(service.classify_url, numbered(1), JPEG).status == 200


@pytest.mark.parametrize("mine", [1, 3])
def test_the_ports_of_another_run_are_not_shared_with_it(service: Service, tmp_path: Path, mine: int) -> None:
    ports = [item for name, value in service.settings.items() for item in ("--set", f"{name}={value}")]
    done = run("--data", str(tmp_path / "other"), "--workers", str(mine), *ports)
    assert done.returncode == 2
    assert "Address already in use" in done.stderr


@pytest.mark.parametrize("number", ["0", "65", "two"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(number: str) -> None:
    done = run("--workers", number)
    assert done.returncode == 2
    assert "--workers" in done.stderr


# --- parts --------------------------------------------------------------------------------------------------------


def test_a_set_of_sockets_for_each_process_and_each_address() -> None:
    (first,), (second,) = bind("127.0.0.1", 0, 1), bind("127.0.0.1", 0, 1)
    port = first[0].getsockname()[1]
    for one in (*first, *second):
        one.close()
    sets = bind("localhost", port, 3)
    try:
        assert len(sets) == 3
        assert {one.getsockname()[1] for group in sets for one in group} == {port}
        for group in sets:
            group[0].listen()
        with pytest.raises(OSError, match="in use"):
            bind("localhost", port, 3)
        with pytest.raises(OSError, match="in use"):
            bind("localhost", port)
    finally:
        for one in (one for group in sets for one in group):
            one.close()


def test_no_socket_is_left_open_where_a_port_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    bound = server._bound

    def third_fails(*arguments: object, **options: object) -> socket.socket:
        if len(opened) == 2:
            raise OSError(98, "Address already in use")
        opened.append(bound(*arguments, **options))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(server, "_bound", third_fails)
    with pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", 0, 2)
    assert [one.fileno() for one in opened] == [-1, -1]


def test_metrics_of_several_processes_are_put_together() -> None:
    one = b"""# HELP imagewarehouse_flowfiles_total FlowFiles
# TYPE imagewarehouse_flowfiles_total counter
imagewarehouse_flowfiles_total{processor="A",relationship="success"} 3.0
# HELP t Seconds
# TYPE t histogram
t_bucket{le="1.0"} 1.0
t_bucket{le="+Inf"} 2.0
t_count 2.0
t_sum 4.5
# HELP t_created Seconds
# TYPE t_created gauge
t_created 100.0
# HELP imagewarehouse_store_enabled 0: off
# TYPE imagewarehouse_store_enabled gauge
imagewarehouse_store_enabled{processor="P"} 1.0
# HELP waiting FlowFiles
# TYPE waiting gauge
waiting 3.0
"""
    other = one.replace(b"3.0", b"4.0").replace(b"100.0", b"50.0") + b'# TYPE more gauge\nmore{x="\\"y"} 7.0\n'
    text = of_workers({0: one, 2: other}).decode()
    for line in (
        'imagewarehouse_flowfiles_total{processor="A",relationship="success",worker="0"} 3.0',
        'imagewarehouse_flowfiles_total{processor="A",relationship="success",worker="2"} 4.0',
        't_bucket{le="1.0",worker="0"} 1.0', 't_bucket{le="+Inf",worker="2"} 2.0', 't_count{worker="0"} 2.0',
        't_sum{worker="2"} 4.5', 't_created{worker="0"} 100.0', 't_created{worker="2"} 50.0', "waiting 7.0",
        'imagewarehouse_store_enabled{processor="P"} 1.0', 'more{x="\\"y"} 7.0', "# TYPE t histogram",
        "# TYPE imagewarehouse_flowfiles_total counter",
    ):  # fmt: skip
        assert line in text.splitlines(), text


def test_a_journal_takes_over_another_ones_entries_in_their_order(tmp_path: Path) -> None:
    async def fill(journal: Journal, numbers: range) -> None:
        for number in numbers:
            await journal.append([({"number": str(number)}, bytes([number]))])

    for name, numbers in (("journal.sqlite", range(3)), ("journal-1.sqlite", range(10, 13))):
        journal = Journal(tmp_path / name)
        asyncio.run(fill(journal, numbers))
        journal.close()
    journal = Journal(tmp_path / "journal.sqlite")
    journal.take_over(tmp_path / "journal-1.sqlite")
    asyncio.run(fill(journal, range(20, 22)))  # of this run: not taken up
    entries = list(journal.replay())
    assert [entry.attributes["number"] for entry in entries] == ["0", "1", "2", "10", "11", "12"]
    assert [entry.content for entry in entries][-1] == bytes([12])
    assert len({entry.number for entry in entries}) == 6
    for entry in entries:
        journal.remove(entry.number)
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.sqlite"]
    left = Journal(tmp_path / "journal.sqlite")
    assert [entry.attributes["number"] for entry in left.replay()] == ["20", "21"]
    left.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000\n", 8), ("200000 100000\n", 2), ("50000 100000\n", 1), ("1600000 100000\n", 8), ("", 8), (None, 8)],
)
def test_cores_are_those_that_the_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: int
) -> None:
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(process, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(process.os, "sched_getaffinity", lambda _: set(range(8)))
    assert process.cores() == expected


def test_what_a_worker_says_of_its_failure_is_the_operators_setting() -> None:
    from imagewarehouse.standalone.supervisor import _why, _Worker

    told = _why(_Worker(1, said=json.dumps(["model.folder", "there is no model"]).encode()))
    assert (told.setting, told.problem) == ("model.folder", "there is no model")
    assert "worker 1 ended while it started" in str(_why(_Worker(1)))
