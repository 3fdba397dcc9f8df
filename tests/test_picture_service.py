"""Stored pictures and thumbnails over HTTP: a real service of several processes, asked by a real client."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageCms

from imagewarehouse.errors import Corrupt, NoDecoder, TooManyPixels
from imagewarehouse.images.thumbnails import Thumbnail, thumbnail
from imagewarehouse.limits import Limits
from imagewarehouse.standalone.thumbnails import ThumbnailCache
from tests.pictures import numbered
from tests.running import Service, post
from tools.image_seeds import saved

WORKERS = {"IMAGEWAREHOUSE_WORKERS": "3" if sys.platform == "linux" else "1"}
SENDER, OTHER, READER, BOTH, ADMIN = (f"{name}-0123456789abcdef" for name in ("send", "other", "read", "both", "admin"))
KEYS = f"camera:{SENDER} portal:{OTHER} desk/read:{READER} lab/read+send:{BOTH} ops/admin:{ADMIN}"


def noisy(size: int, kind: str) -> bytes:
    pixels = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels), kind)


def sent(service: Service, content: bytes, media_type: str = "image/jpeg", key: str | None = None) -> str:
    """Posts an image and gives its id."""
    headers = {"Content-Type": media_type, **({"X-Access-Key": key} if key else {})}
    answer = post(service.classify_url, content, headers)
    assert answer.status == 200, answer.body
    assert answer.json()["image_id"] == hashlib.sha256(content).hexdigest()
    return str(answer.json()["image_id"])


def url(service: Service, image_id: str, more: str = "") -> str:
    return f"http://127.0.0.1:{service.images_port}/images/{image_id}{more}"


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("pictures") / "data", environment=WORKERS) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = {**WORKERS, "IMAGEWAREHOUSE_ACCESS_KEYS": KEYS}
    with Service(tmp_path_factory.mktemp("guarded") / "data", environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def large(service: Service) -> tuple[str, bytes]:
    """A picture of several pieces."""
    content = noisy(900, "PNG")
    assert len(content) > 2 << 20
    return sent(service, content, "image/png"), content


# --- the picture itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "media_type", "suffix"),
    [
        ("JPEG", "image/jpeg", "jpg"),
        ("PNG", "image/png", "png"),
        ("WEBP", "image/webp", "webp"),
        ("GIF", "image/gif", "gif"),
        ("BMP", "image/bmp", "bmp"),
        ("TIFF", "image/tiff", "tiff"),
        ("AVIF", "image/avif", "avif"),
    ],
)
def test_a_picture_comes_back_as_it_was_sent(service: Service, kind: str, media_type: str, suffix: str) -> None:
    content = noisy(24, kind)
    image_id = sent(service, content, media_type)
    answer = httpx.get(url(service, image_id))
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == f'inline; filename="{image_id}.{suffix}"'
    assert answer.headers["etag"] == f'"{image_id}"'
    assert answer.headers["cache-control"] == "private, immutable, max-age=31536000"
    assert answer.headers["vary"] == "X-Access-Key, Authorization"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["accept-ranges"] == "bytes"
    told = httpx.head(url(service, image_id))
    assert (told.status_code, told.content, told.headers["content-length"]) == (200, b"", str(len(content)))
    assert {**told.headers, "date": ""} == {**answer.headers, "date": ""}


def test_every_port_and_every_worker_gives_it(service: Service, large: tuple[str, bytes]) -> None:
    image_id, _ = large
    addresses = [url(service, image_id), f"http://127.0.0.1:{service.classify_port}/images/{image_id}"]
    with ThreadPoolExecutor(8) as pool:  # connections of their own, spread over the workers
        answers = list(pool.map(lambda n: httpx.get(addresses[n % 2]), range(24)))
    assert {answer.status_code for answer in answers} == {200}
    assert {hashlib.sha256(answer.content).hexdigest() for answer in answers} == {image_id}


def test_one_connection_gives_one_after_the_other(service: Service, large: tuple[str, bytes]) -> None:
    small = sent(service, numbered(1))
    with httpx.Client() as client:
        for image_id in (small, large[0], small, large[0]):
            assert hashlib.sha256(client.get(url(service, image_id)).content).hexdigest() == image_id


def test_requests_behind_a_long_answer_wait_for_it(service: Service, large: tuple[str, bytes]) -> None:
    """Pipelined: the second is begun when the pieces of the first are out."""
    small = numbered(1)
    small_id = sent(service, small)
    heads = "".join(f"GET /images/{one} HTTP/1.1\r\nHost: x\r\n\r\n" for one in (large[0], small_id))
    with socket.create_connection(("127.0.0.1", service.images_port)) as client:
        client.sendall(heads.encode() + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := client.recv(1 << 16):
            received += piece
    first = received.index(b"\r\n\r\n") + 4
    assert received[first : first + len(large[1])] == large[1]
    rest = received[first + len(large[1]) :]
    second = rest.index(b"\r\n\r\n") + 4
    assert rest[second : second + len(small)] == small
    assert b"ready" in rest[second + len(small) :]


def test_a_slow_reader_gets_all_of_it_and_holds_little_memory(service: Service) -> None:
    content = saved(Image.fromarray(np.random.default_rng(5).integers(0, 256, (2300, 2300, 3), dtype=np.uint8)), "BMP")
    image_id = sent(service, content, "image/bmp")
    assert len(content) > 15 << 20
    clients = []
    before = service.memory()
    for _ in range(16):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.connect(("127.0.0.1", service.images_port))
        client.sendall(f"GET /images/{image_id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        clients.append(client)
    time.sleep(1)
    assert service.memory() - before < 100  # MiB; held whole, they would be 240
    received = b""
    while piece := clients[0].recv(1 << 20):
        received += piece
    assert received.endswith(content)
    for client in clients:
        client.close()
    assert httpx.get(f"http://127.0.0.1:{service.images_port}/health").status_code == 200


# --- conditions and ranges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", ['"{id}"', 'W/"{id}"', '"other", "{id}"', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_it_already_is_told_so(service: Service, large: tuple[str, bytes], offered: str, method: str) -> None:
    headers = {"If-None-Match": offered.replace("{id}", large[0])}
    answer = httpx.request(method, url(service, large[0]), headers=headers)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{large[0]}"'
    assert answer.headers["cache-control"] == "private, immutable, max-age=31536000"
    assert answer.headers["vary"] == "X-Access-Key, Authorization"
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("offered", ['"other"', "other", "{id}", '"{id}-256"'])
def test_another_tag_gets_the_picture(service: Service, large: tuple[str, bytes], offered: str) -> None:
    answer = httpx.get(url(service, large[0]), headers={"If-None-Match": offered.replace("{id}", large[0])})
    assert (answer.status_code, answer.content) == (200, large[1])


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        pytest.param("bytes=0-0", 0, 0, id="first-byte"),
        pytest.param("bytes=10-19", 10, 19, id="ten"),
        pytest.param("bytes=100-", 100, -1, id="open"),
        pytest.param("bytes=-7", -7, -1, id="from-its-end"),
        pytest.param("bytes=-999999999", 0, -1, id="more-than-there-is"),
        pytest.param("bytes=1000-999999999", 1000, -1, id="beyond-its-end"),
        pytest.param("bytes=1048570-1048589", 1048570, 1048589, id="across-two-pieces"),
        pytest.param("bytes=5-2000000", 5, 2000000, id="several-pieces"),
    ],
)
def test_a_range(service: Service, large: tuple[str, bytes], wanted: str, first: int, last: int) -> None:
    image_id, content = large
    size = len(content)
    start, stop = first % size, (last % size) + 1
    answer = httpx.get(url(service, image_id), headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, content[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["etag"] == f'"{image_id}"'


@pytest.mark.parametrize("wanted", ["bytes=999999999-", "bytes=-0"])
def test_a_range_outside_of_it(service: Service, large: tuple[str, bytes], wanted: str) -> None:
    answer = httpx.get(url(service, large[0]), headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(large[1])}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error_code"] == "request.range_not_satisfiable"


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes 0-1"])
def test_what_is_no_single_range_is_passed_over(service: Service, large: tuple[str, bytes], wanted: str) -> None:
    answer = httpx.get(url(service, large[0]), headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, large[1])


def test_a_range_of_another_picture_is_not_given(service: Service, large: tuple[str, bytes]) -> None:
    image_id, content = large
    for tag, status in ((f'"{image_id}"', 206), ('"another"', 200), (f'W/"{image_id}"', 200)):
        answer = httpx.get(url(service, image_id), headers={"Range": "bytes=0-9", "If-Range": tag})
        assert (answer.status_code, len(answer.content)) == (status, 10 if status == 206 else len(content))


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_goes_on_where_a_download_ended(service: Service, large: tuple[str, bytes], tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(large[1][:1_500_000])
    subprocess.run(["curl", "-sS", "-f", "-C", "-", "-o", str(file), url(service, large[0])], check=True, timeout=30)
    assert file.read_bytes() == large[1]


# --- what is not there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "/thumbnail"])
def test_an_unknown_id_is_told_in_problem_details(service: Service, more: str) -> None:
    answer = httpx.get(url(service, "0" * 64, more))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["error_code"] == "image.not_found"
    assert answer.json()["type"] == "urn:imagewarehouse:error:image.not_found"


@pytest.mark.parametrize("name", ["0" * 63, "0" * 65, "A" * 64, "..%2f..%2fetc%2fpasswd", "0" * 64 + "/other"])
def test_what_is_no_id_is_not_served(service: Service, name: str) -> None:
    assert httpx.get(url(service, name)).status_code == 404


def test_only_get_and_head(service: Service, large: tuple[str, bytes]) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = httpx.request(method, url(service, large[0]))
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.json()["error_code"] == "request.method_not_allowed"
    assert httpx.get(url(service, large[0])).status_code == 200


def test_uploads_and_the_health_check_stay_where_they_were(service: Service) -> None:
    assert post(service.images_url, numbered(9), {"Content-Type": "image/jpeg"}).status == 202
    assert httpx.get(f"{service.images_url}/healthcheck").text == "OK"
    assert httpx.get(service.images_url).json()["error_code"] == "request.method_not_allowed"


def test_reads_are_counted(service: Service, large: tuple[str, bytes]) -> None:
    httpx.get(url(service, large[0]))
    text = httpx.get(f"http://127.0.0.1:{service.images_port}/metrics").text
    assert 'listener="GET /images/{image_id}",status="200"' in text


def test_a_store_that_is_away_or_damaged(tmp_path: Path) -> None:
    with Service(tmp_path / "data", environment=WORKERS) as service:
        small, content = sent(service, numbered(3)), noisy(900, "PNG")
        large = sent(service, content, "image/png")
        (path,) = (service.data / "objects").rglob(f"{small}.jpg")
        path.write_bytes(numbered(4))  # of the same length
        answer = httpx.get(url(service, small))
        assert (answer.status_code, answer.json()["error_code"]) == (500, "objects.damaged")
        assert str(tmp_path) not in answer.text
        (path,) = (service.data / "objects").rglob(f"{large}.png")
        path.write_bytes(content[:-1] + b"x")
        with pytest.raises(httpx.RemoteProtocolError):  # it never looks whole
            httpx.get(url(service, large))
        path.unlink()
        assert httpx.get(url(service, large)).status_code == 404
        objects = service.data / "objects"
        objects.rename(service.data / "away")
        for more in ("", "/thumbnail"):
            answer = httpx.get(url(service, large, more))
            assert (answer.status_code, answer.json()["error_code"]) == (503, "image.unavailable")
            assert answer.headers["retry-after"] == "5"
            assert "detail" not in answer.json()
        (service.data / "away").rename(objects)
        assert httpx.get(url(service, large)).status_code == 404
    assert "is not that image any more" in (tmp_path / "data.log").read_text()


# --- who may read -------------------------------------------------------------------------------------------------


def asked(service: Service, image_id: str, key: str | None, more: str = "") -> httpx.Response:
    return httpx.get(url(service, image_id, more), headers={"X-Access-Key": key} if key else {})


@pytest.mark.parametrize("more", ["", "/thumbnail"])
def test_everybody_reads_what_the_key_allows(guarded: Service, more: str) -> None:
    mine, others = sent(guarded, numbered(1), key=SENDER), sent(guarded, numbered(2), key=OTHER)
    labs = sent(guarded, numbered(3), key=BOTH)
    may = {
        SENDER: {mine},
        OTHER: {others},
        READER: {mine, others, labs},
        BOTH: {mine, others, labs},
        ADMIN: {mine, others, labs},
    }
    for key, readable in may.items():
        for image_id in (mine, others, labs):
            assert asked(guarded, image_id, key, more).status_code == (200 if image_id in readable else 404)


def test_a_picture_that_two_have_sent_is_both_ones(guarded: Service) -> None:
    image_id = sent(guarded, numbered(11), key=SENDER)
    assert asked(guarded, image_id, OTHER).status_code == 404
    sent(guarded, numbered(11), key=OTHER)
    assert asked(guarded, image_id, OTHER).status_code == 200


def test_who_may_not_read_is_told_the_same_whether_it_exists_or_not(guarded: Service) -> None:
    image_id = sent(guarded, numbered(12), key=OTHER)
    for headers in ({}, {"If-None-Match": "*"}, {"Range": "bytes=0-1"}):
        there, not_there = (
            httpx.get(url(guarded, one), headers={"X-Access-Key": SENDER, **headers}) for one in (image_id, "1" * 64)
        )
        assert there.status_code == not_there.status_code == 404
        assert there.text.replace(image_id, "1" * 64) == not_there.text
        assert {k: v for k, v in there.headers.items() if k != "date"} == {
            k: v for k, v in not_there.headers.items() if k != "date"
        }


@pytest.mark.parametrize(
    ("key", "code"), [(None, "access.key_missing"), ("wrong-0123456789abcdef", "access.key_wrong")]
)
def test_without_a_known_key_nothing_is_told(guarded: Service, key: str | None, code: str) -> None:
    for image_id in (sent(guarded, numbered(13), key=SENDER), "1" * 64):
        answer = asked(guarded, image_id, key)
        assert (answer.status_code, answer.json()["error_code"]) == (401, code)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_also_comes_as_a_bearer_token(guarded: Service) -> None:
    image_id = sent(guarded, numbered(14), key=SENDER)
    assert httpx.get(url(guarded, image_id), headers={"Authorization": f"Bearer {READER}"}).status_code == 200


def test_a_key_that_may_not_send_is_refused_and_recorded(guarded: Service) -> None:
    answer = post(guarded.classify_url, numbered(15), {"Content-Type": "image/jpeg", "X-Access-Key": READER})
    assert (answer.status, answer.json()["error_code"]) == (403, "access.not_allowed")
    assert READER not in answer.body.decode()
    assert guarded.count("status = 'rejected' AND error_code = 'access.not_allowed'") == 1
    assert asked(guarded, hashlib.sha256(numbered(15)).hexdigest(), ADMIN).status_code == 404


# --- thumbnails over HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "side"), [("", 256), ("?size=16", 16), ("?size=100", 100), ("?size=1024", 900)])
def test_a_thumbnail_has_the_size_that_was_asked_for(
    service: Service, large: tuple[str, bytes], query: str, side: int
) -> None:
    answer = httpx.get(url(service, large[0], f"/thumbnail{query}"))
    assert answer.status_code == 200
    assert max(opened(answer.content).size) == side  # never enlarged
    assert answer.headers["content-type"] == "image/jpeg"
    wanted = query.partition("=")[2] or "256"
    assert answer.headers["etag"] == f'"{large[0]}-{wanted}"'
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    again = httpx.get(url(service, large[0], f"/thumbnail{query}"), headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    told = httpx.head(url(service, large[0], f"/thumbnail{query}"))
    assert (told.content, told.headers["content-length"]) == (b"", str(len(answer.content)))


@pytest.mark.parametrize("size", ["15", "1025", "0", "-1", "a", "", "1e3", "٣٢", "99999999999999999999"])
def test_a_size_that_cannot_be_had(service: Service, large: tuple[str, bytes], size: str) -> None:
    answer = httpx.get(url(service, large[0], "/thumbnail"), params={"size": size})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "request.bad_parameter")


def test_thumbnails_are_kept_and_each_process_finds_those_of_the_others(service: Service) -> None:
    image_id = sent(service, noisy(300, "PNG"), "image/png")
    first = httpx.get(url(service, image_id, "/thumbnail?size=77")).content
    (kept,) = (service.data / "thumbnails").rglob(f"{image_id}-77.jpg")
    assert kept.read_bytes() == first
    marked = saved(Image.new("RGB", (3, 3)), "JPEG")
    kept.write_bytes(marked)
    assert {httpx.get(url(service, image_id, "/thumbnail?size=77")).content for _ in range(12)} == {marked}


# --- making them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (1000, 3), (64, 64), (20, 10)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_the_longest_side_is_as_asked_and_nothing_grows(size: tuple[int, int], kind: str) -> None:
    made = opened(thumbnail(saved(Image.new("RGB", size), kind), 64, Limits()).content)
    assert max(made.size) == min(64, max(size))
    assert made.size == tuple(max(1, round(side * min(1, 64 / max(size)))) for side in size)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_thumbnail_is_upright_and_says_nothing_else(kind: str) -> None:
    image = Image.new("RGB", (400, 200), "blue")
    image.paste("red", (0, 0, 200, 200))
    exif = image.getexif()
    exif[0x0112], exif[0x010E] = 6, "where it was taken"  # to be turned by 90 degrees clockwise
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    made = thumbnail(file.getvalue(), 100, Limits())
    shown = opened(made.content).convert("RGB")
    assert shown.size == (50, 100)
    assert shown.getpixel((25, 10))[0] > 200  # type: ignore[index]
    assert shown.getpixel((25, 90))[2] > 200  # type: ignore[index]
    assert b"where it was taken" not in made.content
    assert not opened(made.content).getexif()


def test_colours_are_those_that_the_profile_means() -> None:
    """With red and green changed places: LittleCMS has to be asked, or the picture comes out green."""
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, green = swapped.index(b"rXYZ"), swapped.index(b"gXYZ")
    profile = bytearray(swapped)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    plain = saved(Image.new("RGB", (100, 100), (255, 0, 0)), "PNG")
    file = io.BytesIO()
    Image.new("RGB", (100, 100), (255, 0, 0)).save(file, "PNG", icc_profile=bytes(profile))
    for content, expected in ((plain, (254, 0, 0)), (file.getvalue(), (0, 255, 0))):
        made = opened(thumbnail(content, 32, Limits()).content).convert("RGB")
        assert np.abs(np.array(made.getpixel((16, 16))) - expected).max() < 8
        assert "icc_profile" not in made.info


def test_a_broken_profile_is_passed_over() -> None:
    file = io.BytesIO()
    Image.new("RGB", (100, 100), "red").save(file, "PNG", icc_profile=b"no profile at all")
    assert opened(thumbnail(file.getvalue(), 32, Limits()).content).size == (32, 32)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "GIF"), ("RGBA", "WEBP")])
def test_transparency_stays(mode: str, kind: str) -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 50, 100))
    made = thumbnail(saved(image.convert(mode), kind), 50, Limits())
    assert made.suffix == "webp"
    shown = opened(made.content).convert("RGBA")
    assert shown.getpixel((5, 25))[3] == 0  # type: ignore[index]
    assert shown.getpixel((45, 25))[3] == 255  # type: ignore[index]


def test_a_channel_of_transparency_in_which_nothing_is_transparent_is_a_jpeg() -> None:
    assert thumbnail(saved(Image.new("RGBA", (100, 100), "red"), "PNG"), 50, Limits()).suffix == "jpg"


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "CMYK", "F", "LAB"])
def test_every_mode_becomes_a_picture_for_browsers(mode: str) -> None:
    image = Image.new("L", (100, 100), 0 if mode == "CMYK" else 255)
    image = Image.new("CMYK", (100, 100)) if mode == "CMYK" else image
    if mode in ("F", "I;16"):
        image = Image.fromarray(
            np.full((100, 100), 65535 if mode == "I;16" else 1.0, "uint16" if mode == "I;16" else "f4")
        )
    elif mode == "LAB":
        image = Image.new("LAB", (100, 100), (255, 128, 128))
    elif mode == "1":
        image = image.convert("1")
    made = opened(thumbnail(saved(image, "TIFF"), 50, Limits()).content)
    assert made.mode == "RGB"
    assert min(made.getpixel((25, 25))) > 245  # type: ignore[type-var, arg-type]


def test_no_more_is_decoded_than_the_check_of_requests_would() -> None:
    limits = Limits(max_pixels=10_000, max_memory=60_000)
    assert thumbnail(saved(Image.new("L", (100, 100)), "PNG"), 50, limits)
    with pytest.raises(TooManyPixels):
        thumbnail(saved(Image.new("L", (101, 100)), "PNG"), 50, limits)
    with pytest.raises(TooManyPixels, match="MB to decode"):  # its decoder takes four times the memory
        thumbnail(saved(Image.new("RGB", (60, 60)), "WEBP"), 50, limits)


def test_what_cannot_be_decoded_is_refused() -> None:
    with pytest.raises(NoDecoder):
        thumbnail(b"no picture", 50, Limits())
    with pytest.raises(Corrupt):
        thumbnail(saved(Image.new("L", (100, 100)), "PNG")[:60], 50, Limits())


# --- keeping them -------------------------------------------------------------------------------------------------


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_cache_keeps_within_its_bound_and_removes_the_least_recently_used(tmp_path: Path) -> None:
    caches = [ThumbnailCache(tmp_path / "thumbnails", 2, 100_000) for _ in range(2)]
    ids = [hashlib.sha256(bytes([n])).hexdigest() for n in range(200)]
    wanted = ids[0]
    for number, image_id in enumerate(ids):
        caches[number % 2].put(image_id, 64, Thumbnail(bytes([number]) * 1000, "jpg"))
        old = time.time() - 10_000 + number
        os.utime(tmp_path / "thumbnails" / image_id[:2] / f"{image_id}-64.jpg", (old, old))
        assert caches[0].get(wanted, 64) == Thumbnail(bytes(1000), "jpg")  # used all the time
        assert bytes_in(tmp_path / "thumbnails") <= 100_000
    kept = [image_id for image_id in ids if caches[1].get(image_id, 64)]
    assert len(kept) > 60
    assert kept[0] == wanted
    assert kept[1:] == ids[-len(kept) + 1 :]


def test_a_start_looks_at_what_earlier_runs_have_left(tmp_path: Path) -> None:
    folder = tmp_path / "ab"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}-64.jpg").write_bytes(bytes(1000))
    ThumbnailCache(tmp_path, 1, 10_000).put("ab" * 32, 64, Thumbnail(bytes(100), "webp"))
    assert bytes_in(tmp_path) <= 10_000


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").write_text("no folder")
    cache = ThumbnailCache(tmp_path / "thumbnails", 1)
    cache.put("ab" * 32, 64, Thumbnail(b"x", "jpg"))
    assert cache.get("ab" * 32, 64) is None
