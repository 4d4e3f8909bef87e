"""The grpcurl lines of the documents: each names a method that is served, with a body of it."""

import re
import shlex
from dataclasses import dataclass

import pytest
from google.protobuf import descriptor_pool, json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from qasir.proto.v1 import retrieval_pb2 as pb
from service.settings import Settings
from tests.fixtures.triton import ROOT

DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
# Imported for the descriptors that they add to the pool.
FILES = (pb.DESCRIPTOR, health_pb2.DESCRIPTOR)


@dataclass(frozen=True)
class Line:
    """`grpcurl -plaintext [-d JSON] ADDRESS list|METHOD`."""

    words: tuple[str, ...]

    @property
    def body(self) -> str:
        return self.words[self.words.index("-d") + 1] if "-d" in self.words else "{}"

    @property
    def address(self) -> str:
        return self.words[-2]

    @property
    def asked(self) -> str:
        return self.words[-1]

    def request(self) -> Message:
        """What grpcurl would send, found as it finds it: by names, in the descriptors."""
        service, name = self.asked.split("/")
        pool = descriptor_pool.Default()
        method = pool.FindServiceByName(service).FindMethodByName(name)
        assert not method.client_streaming, "-d holds one message"
        return json_format.Parse(self.body, GetMessageClass(method.input_type)())


def lines() -> list[Line]:
    return [
        Line(tuple(shlex.split(line)))
        for document in DOCUMENTS
        for line in re.findall(r"^(?:\$ )?(grpcurl .+)$", document.read_text(), re.MULTILINE)
    ]


def line(asked: str) -> Line:
    (found,) = [each for each in lines() if each.asked == asked]
    return found


@pytest.mark.parametrize("each", lines(), ids=lambda each: each.asked)
def test_a_line_goes_where_the_service_listens(each: Line) -> None:
    fields = Settings.model_fields
    assert each.words[:2] == ("grpcurl", "-plaintext")
    assert each.address == f"{fields['host'].default}:{fields['grpc_port'].default}"
    if each.asked != "list":
        each.request()


def test_a_line_asks_what_it_says() -> None:
    search = line("qasir.v1.Retrieval/Search").request()
    assert search == pb.SearchRequest(query="a dog runs", top_k=3)
    health = line("grpc.health.v1.Health/Check").request()
    assert health == health_pb2.HealthCheckRequest(service=FILES[0].package + ".Retrieval")


@pytest.mark.parametrize(
    ("asked", "body"),
    [("qasir.v1.Retrieval/Find", "{}"), ("qasir.v1.Retrieval/Search", '{"text": "a dog"}')],
)
def test_a_wrong_line_would_be_seen(asked: str, body: str) -> None:
    with pytest.raises((KeyError, json_format.ParseError)):
        Line(("grpcurl", "-plaintext", "-d", body, "127.0.0.1:50051", asked)).request()
