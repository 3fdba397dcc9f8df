"""Locations: what is public of a store's URI, and that what rows hold opens the same object again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from imagewarehouse.errors import ConfigurationError, ObjectStoreUnavailable, UriNotReadable, WrongImageId
from imagewarehouse.limits import Limits
from imagewarehouse.objects.fetching import Fetcher, parse_locations
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location, public
from imagewarehouse.objects.opening import open_store

IMAGE = b"\xff\xd8 not really a picture" * 100
IMAGE_ID = hashlib.sha256(IMAGE).hexdigest()
KEY = f"{IMAGE_ID[:2]}/{IMAGE_ID}.jpg"

# (as the operator writes it, what is public of it, the path of the object in the store)
SCHEMES = [
    pytest.param("file:///srv/images", "file:///srv/images", "/srv/images", id="file"),
    pytest.param("file:///srv/my%20images/", "file:///srv/my%20images", "/srv/my images", id="file-with-a-space"),
    pytest.param("s3://bucket?region=eu-central-1", "s3://bucket", "bucket", id="s3-whole-bucket"),
    pytest.param(
        "s3://image-warehouse/objects?region=eu-central-1", "s3://image-warehouse/objects", "image-warehouse/objects",
        id="s3-as-in-production",
    ),
    pytest.param(
        "s3://AKIA:top%2Fsecret@bucket/a/b/?endpoint_override=127.0.0.1:9000&scheme=http&region=x", "s3://bucket/a/b",
        "bucket/a/b", id="s3-with-login",
    ),
    pytest.param("gs://anonymous@bucket/images?scheme=http&endpoint_override=127.0.0.1:9", "gs://bucket/images",
                 "bucket/images", id="gs"),
    pytest.param("gcs://bucket/images", "gcs://bucket/images", "bucket/images", id="gcs"),
    pytest.param("abfss://container:topsecret@account.dfs.core.windows.net/images",
                 "abfss://container@account.dfs.core.windows.net/images", "container/images", id="abfss"),
    pytest.param("abfss://container@account.dfs.core.windows.net", "abfss://container@account.dfs.core.windows.net",
                 "container", id="abfss-whole-container"),
    pytest.param("abfs://:topsecret@account.blob.core.windows.net/container/images",
                 "abfs://account.blob.core.windows.net/container/images", "container/images", id="abfs-blob"),
    pytest.param("abfs://account:dG9wc2VjcmV0@127.0.0.1:10000/container/images?enable_tls=false",
                 "abfs://account@127.0.0.1:10000/container/images", "container/images", id="abfs-emulator"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "public", "root"), SCHEMES)
def test_a_row_holds_neither_login_nor_options_and_its_uri_leads_back(given: str, public: str, root: str) -> None:
    location = Location.parse(given)
    assert (location.uri, str(location)) == (public, public)
    assert "secret" not in repr(location)
    uri = location.child(KEY)
    assert uri == f"{public}/{KEY}"
    filesystem, opened = location.open()
    assert opened == root
    assert location.key_of(uri) == KEY
    # What is left of it is itself a location of the same store, for whoever has the login elsewhere.
    again = Location.parse(uri)
    assert again.uri == uri
    if not uri.startswith("s3:"):  # without a region Arrow asks Amazon where the bucket is
        assert again.open()[1] == f"{root}/{KEY}"
        assert type(again.open()[0]) is type(filesystem)


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ("hdfs://images@namenode:8020/warehouse?replication=2&kerb_ticket=/tmp/krb5", "hdfs://namenode:8020/warehouse"),
        ("viewfs://cluster/warehouse", "viewfs://cluster/warehouse"),
    ],
)
def test_a_location_of_hadoop_is_split_alike(given: str, public: str) -> None:
    """Arrow opens these with libhdfs, which is on Hadoop's nodes only."""
    location = Location.parse(given)
    assert location.uri == public
    assert location.key_of(location.child(KEY)) == KEY


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("s3://", "names no bucket"),
        ("s3:///images", "names no bucket"),
        ("s3://key:topsecret@/images", "names no bucket"),
        ("gs://", "names no bucket"),
        ("file:///", "names no folder"),
        ("file://", "names no folder"),
        ("hdfs://namenode:8020", "names no folder"),
        ("abfs://account.blob.core.windows.net", "names no container"),
        ("s3://key:topsecret@bucket/images#part", "is not a URI"),
        ("S3://key:topsecret@bucket/images", "schemes are lower case"),
        ("s3://key:top/secret@bucket/images", "write / as %2F"),
        ("s3://key:topsecret?x@bucket/images", "write / as %2F"),
        ("s3://key:topsecret#x@bucket/images", "write / as %2F"),
        ("abfs://account:topsecret/x==@container/images", "write / as %2F"),
        ("s3:/key:topsecret@bucket", "expected a folder or a URI"),
        ("s3:key:topsecret@bucket", "expected a folder or a URI"),
        ("s3//key:topsecret@bucket", "expected a folder or a URI"),
        ("file:relative", "expected a folder or a URI"),
        ("file:///srv/a?b=c", "a folder has no options"),
    ],
)
def test_a_location_needs_a_folder_a_bucket_or_a_container(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        Location.parse(text)
    assert "secret" not in str(caught.value)
    assert "top" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://bucket/in/a.png", "a.png"),
        ("s3://bucket/in/a/b%20c.png", "a/b c.png"),
        ("s3://bucket/in", None),
        ("s3://bucket/in/", None),
        ("s3://bucket/inside/a.png", None),
        ("s3://bucket/in/../secret/a.png", None),
        ("s3://bucket/in/%2e%2e/secret/a.png", None),
        ("s3://bucket/in/a%2f..%2f..%2fsecret", None),
        ("s3://bucket/in//a.png", None),
        ("s3://bucket/in/./a.png", None),
        ("s3://bucket/in/a.png?endpoint_override=elsewhere", None),
        ("s3://bucket/in/a.png#x", None),
        ("s3://bucket/in/a\\\\b.png", None),
        ("s3://bucket/in/a%00b.png", None),
        ("s3://bucket/in/a%25b.png", "a%b.png"),
        ("s3://bucket/in/%252e%252e/secret/a.png", None),
        ("s3://bucket/in/\ud800.png", None),
        ("s3://user@bucket/in/a.png", None),
        ("file:///etc/passwd", None),
    ],
)
def test_only_what_is_below_a_location_is_found_in_it(uri: str, key: str | None) -> None:
    assert Location.parse("s3://bucket/in/?region=eu-central-1").key_of(uri) == key


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:topsecret@bucket/a.png?x=1", "s3://bucket/a.png"),
        ("s3://key:top/se#cret@bucket/a.png", "s3://bucket/a.png"),
        ("s3://key:topsecret", "s3://***"),
        ("hdfs://namenode:8020/a", "hdfs://namenode:8020/a"),
        ("a folder", "a folder"),
    ],
)
def test_what_is_shown_of_a_text_has_no_login(text: str, shown: str) -> None:
    assert public(text) == shown


def test_a_store_that_repeats_its_login_in_an_error_does_not_make_it_public() -> None:
    location = Location.parse("s3://AKIA:top%2Fsecret@bucket/images?endpoint_override=127.0.0.1:1&scheme=http")
    said = "cannot reach s3://AKIA:top%2Fsecret@bucket/images?endpoint_override=127.0.0.1:1&scheme=http with top/secret"
    assert location.hide(said) == "cannot reach s3://bucket/images with ***"


# --- against real stores ------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "s3", "gcs"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return (tmp_path / "an object store").as_uri()
    whole: str = request.getfixturevalue(request.param)
    return whole.replace("@bucket", f"@bucket/{tmp_path.name}/images")


def test_an_object_is_opened_again_by_what_its_row_holds(store_uri: str) -> None:
    store = ImageStore(open_store(Location.parse(store_uri)))
    store.check_writable()
    uri = store.put(IMAGE_ID, "JPEG", IMAGE)
    assert uri == f"{Location.parse(store_uri).uri}/{KEY}"
    assert [part for part in ("?", "AKEY", "secret", "anonymous") if part in uri] == []
    # Another node, started later with the same setting.
    assert ImageStore(open_store(Location.parse(store_uri))).get(uri, len(IMAGE)) == IMAGE
    assert store.put(IMAGE_ID, "JPEG", IMAGE) == uri


def test_a_client_names_what_is_below_a_location_without_its_login(store_uri: str) -> None:
    store = ImageStore(open_store(Location.parse(store_uri)))
    uri = store.put(IMAGE_ID, "JPEG", IMAGE)
    fetcher = Fetcher(parse_locations(store_uri), Limits())
    (content,) = fetcher.for_each(lambda uri, fetch: fetch(uri, len(IMAGE)), [uri])
    assert content == IMAGE
    missing = uri.replace(IMAGE_ID, "0" * 64)
    with pytest.raises(UriNotReadable, match="is not there|No such file"):
        fetcher.for_each(lambda uri, fetch: fetch(uri, len(IMAGE)), [missing])


def test_a_wrong_login_is_said_without_it(s3: str) -> None:
    store = ImageStore(open_store(Location.parse(s3.replace("top%2Fsecret", "wrong%2Fsecret"))))
    with pytest.raises(ConfigurationError, match="s3://bucket cannot be written") as caught:
        store.check_writable()
    assert "wrong" not in str(caught.value)
    assert "AKEY" not in str(caught.value)
    with pytest.raises(ObjectStoreUnavailable, match="s3://bucket/a7/a79021b9[^ ]*: ") as unavailable:
        store.put(IMAGE_ID, "JPEG", IMAGE)
    assert "wrong" not in str(unavailable.value)


@pytest.mark.parametrize("content", [b"", IMAGE[:-1], IMAGE + b"x"], ids=["nothing", "less", "more"])
def test_bytes_of_another_hash_are_never_written_and_never_replace_an_object(store_uri: str, content: bytes) -> None:
    store = ImageStore(open_store(Location.parse(store_uri)))
    with pytest.raises(WrongImageId, match=f"{IMAGE_ID} is not the sha256 of these {len(content)} bytes"):
        store.put(IMAGE_ID, "JPEG", content)
    uri = store.put(IMAGE_ID, "JPEG", IMAGE)
    with pytest.raises(WrongImageId):
        store.put(IMAGE_ID, "JPEG", content)
    assert store.get(uri, len(IMAGE)) == IMAGE
