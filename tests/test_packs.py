"""Packs: the tar file, its index, and the syntax of a place in it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from datetime import date

import pytest

from imagewarehouse.errors import ObjectDamaged
from imagewarehouse.objects.packs import PackPicture, index_key, make_pack, read_index, read_pack, write_index
from imagewarehouse.places import PackedPlace


def picture(content: bytes, suffix: str = "jpg") -> PackPicture:
    return PackPicture(hashlib.sha256(content).hexdigest(), suffix, content, b'{"a": 1}', 1_700_000_000)


PICTURES = [picture(b"x" * size, suffix) for size, suffix in ((1, "jpg"), (512, "png"), (513, "webp"), (70_000, "tif"))]


def test_each_picture_is_where_its_entry_says() -> None:
    pack = make_pack(PICTURES)
    assert [entry.image_id for entry in pack.entries] == [p.image_id for p in PICTURES]
    for entry, given in zip(pack.entries, PICTURES, strict=True):
        assert pack.content[entry.start : entry.start + entry.size] == given.content
        assert pack.content[entry.record_start : entry.record_start + entry.record_size] == given.record


def test_any_tar_reader_takes_it_and_what_is_read_back_is_what_was_made() -> None:
    pack = make_pack(PICTURES)
    with tarfile.open(fileobj=io.BytesIO(pack.content)) as tar:
        names = tar.getnames()
    assert names == [name for p in PICTURES for name in (f"{p.image_id}.{p.suffix}", f"{p.image_id}.json")]
    assert read_pack(pack.content, "here") == pack
    assert read_index(write_index(pack.entries), "here") == pack.entries


def test_the_same_pictures_make_the_same_pack_and_one_that_comes_twice_is_in_it_once() -> None:
    pack = make_pack(PICTURES)
    assert make_pack([*PICTURES, PICTURES[1]]) == pack
    assert pack.key("batches", date(2026, 11, 30)) == f"batches/2026-11-30/{pack.name}.tar"
    assert index_key(pack.key("packs", date(2026, 11, 30))) == f"packs/2026-11-30/{pack.name}.index"
    assert make_pack(PICTURES[::-1]).name != pack.name


def test_what_a_picture_takes_is_known_before() -> None:
    one, two = make_pack(PICTURES[:1]), make_pack(PICTURES)
    assert two.entries[-1].record_start + 512 - one.entries[0].start + 512 == sum(p.packed_size for p in PICTURES)


@pytest.mark.parametrize("cut", [0, 700, 1400])
def test_a_pack_that_is_cut_short_is_damaged(cut: int) -> None:
    content = make_pack(PICTURES[2:]).content
    with pytest.raises(ObjectDamaged, match="s3://b/x.tar"):
        read_pack(content[:cut], "s3://b/x.tar")


def test_an_index_that_is_none_is_damaged() -> None:
    for content in (b"nonsense\n", b'{"image_id": "a"}\n', b"[1]\n"):
        with pytest.raises(ObjectDamaged, match="index"):
            read_index(content, "s3://b/x.index")


def test_a_place_is_written_as_an_http_range() -> None:
    place = PackedPlace("s3://bucket/images/batches/2026-11-30/12ab.tar", 512, 912)
    assert str(place) == "s3://bucket/images/batches/2026-11-30/12ab.tar#bytes=512-1423"
    assert PackedPlace.parse(str(place)) == place
    for other in (None, "", "s3://b/ab/abcd.jpg", "s3://b/x.tar#bytes=9-8", "s3://b/x.tar#bytes=a-b", "x#y#bytes=1-2"):
        assert PackedPlace.parse(other) is None
