"""Start, stop and exit while Kudu is written, and the whole service killed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_faults
from tests.conftest import Hosted, until
from tests.kudu_faults import DECLARED, QUICK, TEXT, WITH_TEXT, Host, Load, make, python
from tests.kudu_tables import stored
from tests.running import Service
from tests.test_service import TEST_IMAGES, needs_data, send

# pytest finds fixtures among the names of a module
cluster = kudu_faults.cluster
open_writer = kudu_faults.open_writer
put = kudu_faults.put
writer = kudu_faults.writer


# --- start, stop and exit ---------------------------------------------------------------------------------------------

EXITS = {
    "unclosed": "thread = threading.Thread(target=write); thread.start(); thread.join()",
    "closed": "thread = threading.Thread(target=write); thread.start(); thread.join(); writer.close()",
}
EXIT = """
import sys, threading, time
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.writing.sink import SinkSettings, TableSink
from imagewarehouse.kudu.writing.tables import Put
from tests.kudu_faults import rows_of
written = []
writer = None

def write():
    global writer
    writer = writer or connect(KuduSettings(sys.argv[1]))
    sink = TableSink(writer, sys.argv[2], SinkSettings())
    assert sink.write([Put(sys.argv[2], rows_of([{"key": 1}]))]) == [[None]]
    written.append(1)
"""


@pytest.mark.parametrize("how", EXITS)
def test_process_that_wrote_from_another_thread_ends(
    kudu: LocalKudu, writer: KuduWriter, how: str, tmp_path: Path
) -> None:
    table = make(writer, TEXT)
    script = EXIT + EXITS[how] + "\nprint(time.time(), flush=True)\n"
    asked = float(python(script, kudu.masters, table))
    assert time.time() - asked < 5
    assert stored(writer, table, "key") == [(1,)]


@pytest.mark.parametrize("source", ["content", "image record"])
def test_processor_stops_in_bounded_time_while_a_flush_hangs(
    cluster: LocalKudu, put: Callable[..., Hosted], hosted: Host, record: Callable[..., ImageRecord], source: str
) -> None:
    if source == "content":
        processor, attributes = put("t", cluster.masters, Table_Schema=DECLARED), {}
    else:
        processor = hosted("PutKuduRecord", {"Kudu Masters": cluster.masters, **QUICK})
        attributes = record().as_attributes()
    processor.host.schedule()
    assert processor.transform(WITH_TEXT, attributes).relationship == "success"
    cluster.pause("tserver-0")
    lefts: list[str] = []

    def one() -> None:
        lefts.append(processor.transform(WITH_TEXT, attributes).relationship)

    threads = [threading.Thread(target=one) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        processor.host.stop()
        assert time.monotonic() - begun < 10
        for thread in threads:
            thread.join(20)
    finally:
        cluster.resume("tserver-0")
    assert lefts == ["retry"] * 4


def test_start_and_stop_under_load_lose_nothing(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT)
    processor = put(table)
    processor.host.schedule()
    load = Load().contents(processor, table, threads=6)
    try:
        for _ in range(5):
            assert load.more("success", 30), load.defects
            processor.host.stop()
            processor.host.schedule()
    finally:
        load.finish()
    load.check(writer)


def test_starting_and_stopping_leaves_no_threads_behind(
    kudu: LocalKudu, hosted: Host, put: Callable[..., Hosted], record: Callable[..., ImageRecord], writer: KuduWriter
) -> None:
    import jpype

    table = make(writer, TEXT)
    images, rows = hosted("PutKuduRecord", {"Kudu Masters": kudu.masters, **QUICK}), put(table)

    def once() -> None:
        for processor in (images, rows):
            processor.host.schedule()
        assert images.transform(b"", record().as_attributes()).relationship == "success"
        assert rows.transform(WITH_TEXT).relationship == "success"
        for processor in (images, rows):
            processor.host.stop()

    def java_threads() -> Counter[str]:
        """Those that do something; the client's pool lets go of idle ones after a minute."""
        found = jpype.JClass("java.lang.Thread").getAllStackTraces().entrySet()
        busy = [e.getKey() for e in found if "ThreadPoolExecutor.getTask" not in str(list(e.getValue()))]
        return Counter(str(thread.getName()).rstrip("0123456789-") for thread in busy)

    once()
    python_threads, before = threading.active_count(), java_threads()
    for _ in range(20):
        once()
    assert until(lambda: threading.active_count() <= python_threads), threading.enumerate()
    assert until(lambda: not java_threads() - before, 30), java_threads() - before


# --- the whole service ------------------------------------------------------------------------------------------------


@pytest.mark.long
@needs_data
def test_200_images_leave_200_rows_in_kudu_though_the_service_is_killed_in_the_middle(
    kudu: LocalKudu, tmp_path: Path, open_writer: Callable[..., KuduWriter]
) -> None:
    service = Service(tmp_path / "data")
    service.command = lambda command=service.command: [*command(), "--kudu", "local"]  # type: ignore[method-assign]
    service.start()
    done: list[subprocess.CompletedProcess[str]] = []
    arguments = (str(TEST_IMAGES), "--limit", "200", "--connections", "8", "--retries", "20")
    sender = threading.Thread(target=lambda: done.append(send(service.classify_url, *arguments)))
    sender.start()
    assert until(lambda: len(service.objects()) >= 40, 60)
    service.kill()
    assert len(service.objects()) < 200, "killed too late to show anything"
    with service:
        sender.join(120)
        assert done
        assert done[0].returncode == 0, done[0].stdout + done[0].stderr
        ports = json.loads((service.data / "kudu" / "ports.json").read_text())
        writer = open_writer(f"127.0.0.1:{ports['master'][0]}")
        found = stored(writer, "image_events", "request_id", "status", "image_id")
        assert [status for _, status, _ in found] == ["classified"] * 200
        images = pq.read_table(TEST_IMAGES, columns=["image"]).slice(0, 200)["image"].to_pylist()
        assert sorted(image_id for _, _, image_id in found) == sorted(hashlib.sha256(i).hexdigest() for i in images)
