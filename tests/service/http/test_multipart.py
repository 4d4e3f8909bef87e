"""The upload form: any cut into pieces gives the same file, every fault is typed."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qasir.contract.videos import UploadHeader
from qasir.errors import InvalidInput, UploadTooLarge
from service.folders import StateFolders
from service.http.multipart import UploadForm, read_upload
from service.storage.media import MediaStore

BOUNDARY = "----boundary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
# Holds what looks like a boundary and is none.
CONTENT = b"\r\n------boundar\r\n\x00moving\r\n--pictures--\r\n"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    said = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {said}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


GOOD = form(
    part("title", "Hündchen".encode()),
    part("video", CONTENT, "dog.mp4"),
    part("metadata", b'{"a": 1}'),
)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaStore:
    folder: Path = tmp_path_factory.mktemp("forms")
    return MediaStore(StateFolders(folder), max_bytes=1000, reserve_bytes=0)


def read(media: MediaStore, pieces: Iterator[bytes], kind: str = KIND) -> UploadForm:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def run() -> UploadForm:
        with media.receive() as writer:
            return await read_upload(kind, body(), writer)

    return anyio.run(run)


def refused(media: MediaStore, body: bytes, kind: str = KIND) -> str:
    with pytest.raises(InvalidInput) as raised:
        read(media, iter([body]), kind)
    return str(raised.value)


@given(cuts=st.lists(st.integers(0, len(GOOD)), max_size=6))
def test_any_cut_gives_the_same_form(media: MediaStore, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(GOOD)]
    found = read(media, (GOOD[a:b] for a, b in pairwise(edges)))
    assert found.received.sha256 == hashlib.sha256(CONTENT).hexdigest()
    expected = UploadHeader(filename="dog.mp4", title="Hündchen", metadata={"a": 1})
    assert found.header == expected


def test_one_field_is_enough(media: MediaStore) -> None:
    found = read(media, iter([form(part("video", CONTENT))]))
    assert found.header == UploadHeader()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (form(part("title", b"x")), "no field 'video'"),
        (form(part("video", CONTENT), part("video", CONTENT)), "came twice"),
        (form(part("file", CONTENT)), "field 'file' is not known"),
        (form(part("video", CONTENT))[:-20], "breaks off"),
        (form(part("video", b"")), "0 bytes"),
        (form(part("video", CONTENT), part("title", b"\xff")), "not UTF-8"),
        (b"nonsense", "no multipart form"),
    ],
)
def test_faults_of_the_form(media: MediaStore, body: bytes, says: str) -> None:
    assert says in refused(media, body)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "video/mp4"])
def test_other_content_types(media: MediaStore, kind: str) -> None:
    assert "curl -F video=@" in refused(media, GOOD, kind)


def test_too_many_bytes(media: MediaStore) -> None:
    with pytest.raises(UploadTooLarge):
        read(media, iter([form(part("video", bytes(2000)))]))
