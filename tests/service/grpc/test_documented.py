"""The grpcurl lines of the documents, by what grpcurl does: reflection, JSON in, JSON out."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from service.settings import Settings
from tests.support.service import RunningService
from tests.support.triton import ROOT
from tests.support.waiting import wait_for

DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]

SERVING = {"status": "SERVING"}


@dataclass(frozen=True)
class Line:
    """`grpcurl [-plaintext] [-d JSON] ADDRESS list|METHOD`."""

    document: Path
    words: tuple[str, ...]

    @property
    def body(self) -> str:
        return self.words[self.words.index("-d") + 1] if "-d" in self.words else ""

    @property
    def address(self) -> str:
        return self.words[-2]

    @property
    def asked(self) -> str:
        return self.words[-1]


HEALTH = Line(ROOT, ("grpcurl", "127.0.0.1:50051", "grpc.health.v1.Health/Check"))


def lines() -> list[Line]:
    return [
        Line(document, tuple(shlex.split(line)))
        for document in DOCUMENTS
        for line in re.findall(r"^(?:\$ )?(grpcurl .+)$", document.read_text(), re.MULTILINE)
    ]


def call(port: int, line: Line) -> Any:
    """What the service answers to a line, as JSON; nothing is known of it but by reflection."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        if line.asked == "list":
            return sorted(described.get_services())
        service, name = line.asked.split("/")
        method = DescriptorPool(described).FindServiceByName(service).FindMethodByName(name)
        assert not method.client_streaming, "-d has one message"
        assert not method.server_streaming
        request = json_format.Parse(line.body or "{}", GetMessageClass(method.input_type)())
        ask = channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return json.loads(json_format.MessageToJson(ask(request, timeout=30)))


def test_there_are_lines() -> None:
    assert {line.asked for line in lines()} >= {"list", "qasir.v1.RetrievalService/Search"}


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.asked)
def test_a_line_is_answered(running_service: RunningService, line: Line) -> None:
    address = (
        f"{Settings.model_fields['host'].default}:{Settings.model_fields['grpc_port'].default}"
    )
    assert (line.words[1], line.address) == ("-plaintext", address)
    port = running_service.settings.grpc_port
    # A test before this one may have had Triton start again.
    wait_for(lambda: call(port, HEALTH) == SERVING)
    answer = call(port, line)
    match line.asked:
        case "list":
            assert {"qasir.v1.RetrievalService", "grpc.health.v1.Health"} <= set(answer)
        case "grpc.health.v1.Health/Check":
            assert answer == SERVING
        case "qasir.v1.RetrievalService/Search":
            assert answer["mode"] == "accurate"
            assert len(answer.get("results", [])) <= json.loads(line.body)["top_k"]
        case _:
            pytest.fail(f"say what {line.asked} is to answer")


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        ("qasir.v1.RetrievalService/Find", "{}"),
        ("qasir.v1.RetrievalService/Search", '{"text": "a dog"}'),
    ],
)
def test_a_wrong_line_would_be_seen(running_service: RunningService, asked: str, body: str) -> None:
    wrong = Line(ROOT / "README.md", ("grpcurl", "-d", body, "127.0.0.1:50051", asked))
    with pytest.raises((KeyError, json_format.ParseError)):
        call(running_service.settings.grpc_port, wrong)
