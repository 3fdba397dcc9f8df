"""The shipped flow in a real NiFi, with its pictures on real stores: S3; HDFS and HBase by a NAR with their clients."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from tests.conftest import until
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_flow import is_drained, started, table
from tests.object_services import PATIENT, S3_KEY, S3_SECRET, Service, inside, s3_uri
from tests.pictures import numbered
from tests.running import post

__all__ = ["started"]  # a fixture

JPEG = {"Content-Type": "image/jpeg"}
S3_SECRETS = {"IMAGEWAREHOUSE_STORE_SECRET_KEY": S3_SECRET}


@pytest.fixture(scope="module")
def with_clients(nar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NAR that has the clients of HDFS and HBase."""
    from tests.nifi.conftest import _PYTHON
    from tools import nar as packer

    target = packer.Target(_PYTHON, "linux-x86_64", "core", ("hdfs", "hbase"))
    return packer.pack(target, tmp_path_factory.mktemp("nar"))


@pytest.fixture
def put_back(started: Warehouse, nar: Path, command: Command) -> Iterator[Warehouse]:
    """`started`, with its own store and NAR again afterwards."""
    yield started
    unset = [text for name in ("endpoint", "region", "access.key") for text in ("--set", f"store.{name}=")]
    assert command("deploy", "--nar", str(nar), *started.settings, *unset)[0] == 0


def elsewhere(warehouse: Warehouse, **settings: str) -> list[str]:
    """The settings of the deployed flow with another store, `store_uri` and so on."""
    own = [text for text in warehouse.settings if text != "--set" and not text.startswith("store.uri=")]
    theirs = [f"{name.replace('_', '.')}={value}" for name, value in settings.items()]
    return [text for setting in (*own, *theirs) for text in ("--set", setting)]


def keep_pictures(warehouse: Warehouse, command: Command, count: int) -> None:
    """Post `count` pictures to each listener; every one has its row, which names its place."""
    for number in range(count):
        answer = post(warehouse.classify, numbered(number), JPEG)
        assert answer.status == 200, (answer.body, warehouse.nifi.last_words())
        assert post(warehouse.images, numbered(count + number), JPEG).status == 202
    assert until(lambda: is_drained(warehouse.nifi), seconds=60, every=0.5)


def check_pictures(rows: list[dict[str, object]], uri: str, secret: Location, count: int) -> None:
    assert len(rows) == 2 * count
    expected = {hashlib.sha256(content).hexdigest(): content for content in map(numbered, range(2 * count))}
    assert {row["image_id"] for row in rows} == set(expected)
    with closing(open_store(secret, PATIENT)) as store:
        for row in rows:
            assert row["status"] == "classified"
            key = Location.parse(uri).key_of(str(row["storage_uri"]))
            assert key is not None, row["storage_uri"]
            assert store.get(key) == expected[str(row["image_id"])]
        assert len([found for found in store.list() if not found.key.startswith("write-test")]) == 2 * count


def test_pictures_in_an_s3_store_with_the_login_in_parameters(
    put_back: Warehouse, s3_service: Service, nar: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"t{uuid.uuid4().hex}"
    for name, value in S3_SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = elsewhere(
        put_back,
        store_uri=f"s3://bucket/{folder}",
        store_endpoint=f"http://127.0.0.1:{s3_service.port}",
        store_region="eu-central-1",
        store_access_key=S3_KEY,
    )
    code, facts, said = command("deploy", "--nar", str(nar), *settings)
    assert code == 0, (facts, said)
    keep_pictures(put_back, command, 5)
    check_pictures(
        table(put_back, command), f"s3://bucket/{folder}", Location.parse(inside(s3_uri(s3_service.port), folder)), 5
    )


@pytest.mark.services
@pytest.mark.parametrize("kind", ["hdfs", "hbase"])
def test_pictures_in_hdfs_and_hbase(
    put_back: Warehouse, with_clients: Path, command: Command, kind: str, request: pytest.FixtureRequest
) -> None:
    uri = inside(request.getfixturevalue(kind), f"t{uuid.uuid4().hex}")
    code, facts, said = command("deploy", "--nar", str(with_clients), *elsewhere(put_back, store_uri=uri))
    assert code == 0, (facts, said)
    keep_pictures(put_back, command, 3)
    check_pictures(table(put_back, command), Location.parse(uri).uri, Location.parse(uri), 3)
