"""The upload form, parsed while it arrives: the video goes straight to its place on disk.

Starlette's own form parser would first spool the whole file to a temporary folder, without
a limit on its bytes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from qasir.contract.videos import UploadHeader
from qasir.errors import InvalidInput
from service.http.accept import read_metadata, write_pieces
from service.storage.media import ReceivedFile, UploadWriter

TEXT_FIELDS = ("title", "metadata")
# Room for the text fields and the headers around them, beside the video itself.
FORM_BYTES = 1 << 20


@dataclass(frozen=True)
class UploadForm:
    """The fields of an upload."""

    received: ReceivedFile
    header: UploadHeader


async def read_upload(
    content_type: str, body: AsyncIterator[bytes], writer: UploadWriter
) -> UploadForm:
    """Read the form to its end.

    Raises:
        InvalidInput: no multipart form, a field twice, an unknown field, or no video.
        UploadTooLarge, StorageFull: see `UploadWriter`.
    """
    form = _Form(content_type, writer)
    await write_pieces(body, form.write)
    return await anyio.to_thread.run_sync(form.result)


class _Form:
    """Collects parts: the video on disk, the texts in memory up to a limit."""

    def __init__(self, content_type: str, writer: UploadWriter) -> None:
        self._writer = writer
        self._texts: dict[str, bytearray] = {}
        self._filename = ""
        self._seen: set[str] = set()
        self._name = ""
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InvalidInput(
                f"content type '{content_type[:80]}': send multipart/form-data with the field "
                f"'video', for example curl -F video=@file.mp4"
            )
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_header_field": lambda data, a, b: self._header[0].extend(data[a:b]),
                    "on_header_value": lambda data, a, b: self._header[1].extend(data[a:b]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_part,
                    "on_part_data": self._write_part,
                },
            )
        except FormParserError as error:
            raise InvalidInput(f"the form's boundary is not usable: {error}") from error

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise InvalidInput(f"the body is no multipart form: {error}") from error

    def result(self) -> UploadForm:
        if self._parser.state != MultipartState.END:
            raise InvalidInput("the form breaks off before its end; send it again")
        if "video" not in self._seen:
            raise InvalidInput("the form has no field 'video'; send one, curl -F video=@file.mp4")
        metadata = read_metadata(self._text("metadata"))
        header = UploadHeader(filename=self._filename, title=self._text("title"), metadata=metadata)
        return UploadForm(self._writer.finish(), header)

    def _text(self, name: str) -> str | None:
        try:
            return self._texts[name].decode() if name in self._texts else None
        except UnicodeDecodeError as error:
            raise InvalidInput(f"field '{name}' is not UTF-8: {error.reason}") from error

    def _end_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = (bytearray(), bytearray())

    def _open_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name not in ("video", *TEXT_FIELDS):
            raise InvalidInput(
                f"field '{self._name[:40]}' is not known; send 'video', and 'title' or 'metadata'"
            )
        if self._name in self._seen:
            raise InvalidInput(f"field '{self._name}' came twice; send one video per request")
        self._seen.add(self._name)
        if self._name == "video" and b"filename" in options:
            self._filename = options[b"filename"].decode("utf-8", "replace")

    def _write_part(self, data: bytes, begin: int, end: int) -> None:
        if self._name == "video":
            self._writer.write(data[begin:end])
            return
        text = self._texts.setdefault(self._name, bytearray())
        if len(text) + end - begin > FORM_BYTES // 2:
            raise InvalidInput(f"field '{self._name}' is over {FORM_BYTES // 2} bytes; shorten it")
        text.extend(data[begin:end])
