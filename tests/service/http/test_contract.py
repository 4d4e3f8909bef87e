"""The HTTP contract at its edges: one app in this process, on a real Triton."""

import base64
import concurrent.futures
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI
from prometheus_client.parser import text_string_to_metric_families

from service.app import open_service
from service.observability.metrics import METRICS, OTHER
from service.settings import Settings
from tests.support.service import RunningService, assert_alike
from tests.support.site import Site

BENTOML_CLIENT = """
import bentoml, json, sys
with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    print(json.dumps([client.search(query="a house", top_k=100), client.embed(texts=["a house"])]))
"""


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/videos/v0", 404, "not_found"),
        ("GET", "/v1/videos/v0/media", 404, "not_found"),
        ("DELETE", "/v1/videos/v0", 404, "not_found"),
        ("GET", "/v1/jobs/j0", 404, "not_found"),
        ("PUT", "/v1/videos", 405, "method_not_allowed"),
        ("GET", "/v1/search", 405, "method_not_allowed"),
        ("GET", "/v1/videos?limit=0", 422, "invalid_input"),
        ("GET", "/v1/videos?limit=100000", 422, "invalid_input"),
        ("GET", "/v1/videos?offset=1", 422, "invalid_input"),
        ("GET", "/v1/videos?page_token=x", 422, "invalid_input"),
        ("GET", "/v1/videos?page_token=", 422, "invalid_input"),
        ("GET", "/v1/jobs?page_token=WzEuNSwidjAiXQ", 422, "invalid_input"),
        ("GET", "/v1/models/99", 404, "not_found"),
        ("POST", "/v1/models/0/build", 404, "not_found"),
        ("GET", "/v1/jobs?state=lost", 422, "invalid_input"),
        ("GET", "/v1/videos/v0/thumbnail?t=nan", 422, "invalid_input"),
        ("GET", f"/v1/videos/v0/super-images/{10**400}", 422, "invalid_input"),
        ("POST", "/v1/videos", 422, "invalid_input"),
    ],
)
def test_every_error_is_a_problem(
    site: Site, method: str, path: str, status: int, code: str
) -> None:
    answer = site.ask(method, path)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:qasir:error:{code}"
    assert len(problem["detail"]) < 500


def test_a_refused_method_names_those_that_a_path_has(site: Site) -> None:
    allowed = {
        "/v1/videos": "GET, POST",
        "/v1/videos/v0": "GET, DELETE",
        "/v1/search": "POST",
        "/v1/uploads/u0": "HEAD, OPTIONS, PATCH, DELETE",
    }
    assert {path: site.ask("PUT", path).headers["allow"] for path in allowed} == allowed


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({}, "invalid_input", "a query, an example or both"),
        ({"query": 3}, "invalid_input", "query: Input should be a valid string"),
        ({"query": ""}, "invalid_input", "the query is empty; describe in words"),
        ({"query": "  \n "}, "invalid_input", "empty"),
        ({"query": "\u0000\u200b"}, "invalid_input", "empty"),
        ({"query": "x" * 101}, "query_too_long", "limit is 100"),
        ({"query": "a dog", "top_k": 101}, "invalid_input", "1 to 100"),
        ({"query": "a dog", "offset": 1001}, "invalid_input", "0 to 1000"),
        ({"query": "a dog", "model": "big"}, "unsupported_model", "served is 'tiny@1'"),
        ({"query": "a dog", "grid_size": 7}, "unsupported_grid", "serves [2]"),
        ({"query": "a dog", "top_k": True}, "invalid_input", "top_k: Input should be"),
        ({"query": "a dog", "top_k": "3"}, "invalid_input", "top_k: Input should be"),
        ({"query": "a dog", "context_seconds": False}, "invalid_input", "context_seconds: Input"),
        ({"query": "a dog", "context_seconds": "2"}, "invalid_input", "context_seconds: Input"),
        ({"query": "a dog", "mode": "quick"}, "invalid_input", "'fast', 'accurate' or 'hybrid'"),
        ({"query": "a dog", "topk": 3}, "invalid_input", "topk: Extra"),
        ({"query": "a dog", "context_seconds": 601}, "invalid_input", "0 to 600 s"),
        ({"query": "a dog", "filter": {"length": 3}}, "invalid_input", "filter.length: Extra"),
        (
            {"query": "a dog", "filter": {"metadata": {"n": {"at_least": 3}}}},
            "invalid_input",
            "filter.metadata.n.conditions.at_least: Extra",
        ),
        ({"example": {}}, "invalid_input", "an image, or"),
        ({"example": {"image": "&"}}, "invalid_input", "example.image"),
    ],
)
def test_search_names_what_is_wrong(site: Site, body: Any, code: str, says: str) -> None:
    answer = site.ask("POST", "/v1/search", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"{", b'"a dog"', b'{"query": "\\ud800"}', b"\xff"])
def test_search_body_that_is_no_request(site: Site, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = site.ask("POST", "/v1/search", content=content, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == "invalid_input"


@pytest.mark.parametrize("sent", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_json_under_another_name_is_told_the_right_one(site: Site, sent: str) -> None:
    answer = site.ask(
        "POST", "/v1/search", content=b'{"query": "a dog"}', headers={"content-type": sent}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert f"content type '{sent}'" in answer.json()["detail"]
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_examples_that_are_not_there(site: Site) -> None:
    for example, status, code in [
        ({"image": base64.b64encode(b"no picture").decode()}, 415, "unsupported_media"),
        ({"image": {}}, 422, "invalid_input"),
        ({"image": base64.b64encode(b"x" * ((3 << 20) + 1)).decode()}, 413, "upload_too_large"),
        ({"video_id": "v0", "start": 0, "end": 1}, 404, "not_found"),
    ]:
        answer = site.ask("POST", "/v1/search", json={"example": example})
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_deepest_page_there_is(site: Site) -> None:
    answer = site.ask("POST", "/v1/search", json={"query": "a dog", "offset": 1000})
    assert (answer.status_code, answer.json()["results"]) == (200, [])


def test_search_body_that_is_too_long(site: Site) -> None:
    answer = site.ask("POST", "/v1/search", json={"query": "x" * (8 << 20)})
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    "metadata",
    ["[1]", "{", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": "%s"}' % ("x" * 20000)],
)
def test_metadata_that_cannot_be_kept(site: Site, metadata: str) -> None:
    answer = site.ask(
        "POST", "/v1/videos", files={"video": ("a.mp4", b"x")}, data={"metadata": metadata}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "metadata" in answer.json()["detail"]


def test_metadata_that_is_nested_too_deep(site: Site) -> None:
    """JSON could send it back, but protobuf could not."""
    for depth, status in ((33, 422), (20_000, 422), (32, 202)):
        metadata = '{"a":' * depth + "1" + "}" * depth
        answer = site.ask(
            "POST", "/v1/videos", files={"video": ("a.mp4", b"deep")}, data={"metadata": metadata}
        )
        assert answer.status_code == status, depth
    url = f"/v1/videos/{answer.json()['video_id']}"
    assert site.ask("GET", url).json()["metadata"]["a"]
    assert site.ask("DELETE", url).status_code == 204


def test_the_same_bytes_take_on_the_title_and_metadata_sent_with_them(site: Site) -> None:
    def send(**fields: str) -> tuple[int, dict[str, Any]]:
        answer = site.ask(
            "POST", "/v1/videos", files={"video": ("dog.mp4", b"the same")}, data=fields
        )
        return answer.status_code, answer.json()

    status, first = send(metadata='{"camera": 1}')
    assert (status, first["existing"], first["updated"]) == (202, False, False)
    url = f"/v1/videos/{first['video_id']}"
    # What is left out or blank stays, and a file's name is no title that somebody gave.
    for fields, updated, title, metadata in [
        ({}, False, "dog", {"camera": 1}),
        ({"title": " "}, False, "dog", {"camera": 1}),
        ({"title": "A dog"}, True, "A dog", {"camera": 1}),
        ({"title": "A dog", "metadata": '{"camera": 1}'}, False, "A dog", {"camera": 1}),
        ({"metadata": "{}"}, True, "A dog", {}),
    ]:
        status, answer = send(**fields)
        assert (status, answer["video_id"], answer["job_id"]) == (
            200,
            first["video_id"],
            first["job_id"],
        )
        assert (answer["existing"], answer["updated"]) == (True, updated), fields
        video = site.ask("GET", url).json()
        assert (video["title"], video["metadata"]) == (title, metadata)
    site.ask("DELETE", url)


def test_pages_lead_through_the_whole_list(site: Site) -> None:
    sent = [
        site.ask("POST", "/v1/videos", files={"video": (f"{n}.mp4", bytes([n]))}).json()
        for n in range(5)
    ]
    for path, name, key in (("/v1/videos", "videos", "video_id"), ("/v1/jobs", "jobs", "job_id")):
        seen: list[str] = []
        token = None
        while token is not None or not seen:
            query = {"limit": 2} | ({} if token is None else {"page_token": token})
            page = site.ask("GET", path, params=query).json()
            seen += [item["id"] for item in page[name]]
            token = page["next_page_token"]
            assert page.get("total_count", 5) == 5
        assert seen == [upload[key] for upload in reversed(sent)]
    for upload in sent:
        site.ask("DELETE", f"/v1/videos/{upload['video_id']}")


def test_empty_library_answers(site: Site) -> None:
    found = site.ask("POST", "/v1/search", json={"query": "a dog"}).json()
    assert (found["results"], found["searched"]) == ([], {"video_count": 0, "seconds": 0.0})


def test_embeddings_are_unit_vectors_and_cached(site: Site) -> None:
    texts = {"texts": ["a dog", "the red ball", "a  dog "]}
    found = site.ask("POST", "/v1/embed", json=texts).json()
    first, second, same = found["vectors"]
    assert found["dim"] == len(first) == 32
    assert first == same != second
    assert sum(x * x for x in first) == pytest.approx(1, abs=1e-4)
    again = site.ask("POST", "/v1/embed", json={"texts": ["a dog"]}).json()
    assert again["vectors"] == [first]
    assert 'qasir_text_cache_total{result="hit"} 1.0' in site.ask("GET", "/metrics").text


@pytest.mark.parametrize("texts", [[], ["a"] * 65, ["a", ""]])
def test_embed_is_bounded(site: Site, texts: list[str]) -> None:
    answer = site.ask("POST", "/v1/embed", json={"texts": texts})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_overload_is_told_when_to_come_again(site: Site) -> None:
    requests = [("POST", "/v1/search", {"json": {"query": f"dog {n}"}}) for n in range(12)]
    answers = site.ask_all(requests)
    statuses = [answer.status_code for answer in answers]
    assert sorted(set(statuses)) == [200, 429]
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["code"] == "overloaded"
            assert int(answer.headers["retry-after"]) > 0
    assert site.ask("POST", "/v1/search", json={"query": "dog"}).status_code == 200


def test_requests_under_way_are_bounded(limited: Settings) -> None:
    core = open_service(limited.model_copy(update={"max_requests": 2}))
    answers = Site(core).ask_all([("GET", "/v1/videos", {})] * 6)
    core.close()
    assert {answer.status_code for answer in answers} == {200, 429}


def test_full_queue_refuses_uploads_before_it_reads_them(limited: Settings) -> None:
    core = open_service(limited.model_copy(update={"max_queued_jobs": 1}))
    site, read = Site(core), []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"x"

    first = site.ask("POST", "/v1/videos", files={"video": ("a.mp4", b"only queued")})
    headers = {"content-type": "multipart/form-data; boundary=x"}
    second = site.ask("POST", "/v1/videos", content=body(), headers=headers)
    site.ask("DELETE", f"/v1/videos/{first.json()['video_id']}")
    core.close()
    assert (first.status_code, second.status_code, second.json()["code"]) == (
        202,
        429,
        "overloaded",
    )


def test_full_disk_is_said(limited: Settings) -> None:
    core = open_service(limited.model_copy(update={"disk_reserve_bytes": 1 << 60}))
    answer = Site(core).ask("POST", "/v1/videos", files={"video": ("a.mp4", b"x")})
    core.close()
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")


def test_openapi_document_is_one(site: Site) -> None:
    document = site.ask("GET", "/docs.json").json()
    OpenAPI.model_validate(document)
    for kind in re.findall(r'"\$ref": "#/components/schemas/(.*?)"', json.dumps(document)):
        assert kind in document["components"]["schemas"]
    assert "#/$defs" not in json.dumps(document)
    assert set(document["paths"]) >= {
        "/v1/videos",
        "/v1/videos/{video_id}",
        "/v1/videos/{video_id}/media",
        "/v1/videos/{video_id}/thumbnail",
        "/v1/videos/{video_id}/super-images/{number}",
        "/v1/jobs",
        "/v1/jobs/{job_id}",
        "/v1/search",
        "/v1/embed",
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "application/problem+json" in operation["responses"]["default"]["content"], (
                path,
                method,
            )


ODD = ["v" + "0" * 20, "../../etc/passwd", "%00", "ü" * 50, "{video_id}", "a b"]


def test_no_label_is_unbounded(site: Site) -> None:
    for odd in ODD:
        for path in (f"/v1/videos/{odd}", f"/v1/jobs/{odd}", f"/{odd}", f"/v1/videos/{odd}/media"):
            site.ask("GET", path)
            site.ask("PATCH", path)
        site.ask("POST", "/v1/search", json={"query": odd, "grid_size": 2})
        site.ask("POST", "/v1/search", json={"query": odd, "grid_size": 99, "mode": odd})
    allowed = {metric.name: metric.labels for metric in METRICS}
    seen = 0
    for family in text_string_to_metric_families(site.ask("GET", "/metrics").text):
        name = family.name + ("_total" if family.type == "counter" else "")
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    assert value in (*allowed[name][label], OTHER), (name, label, value)
                    seen += 1
    assert seen > 20


def test_metrics_add_up_over_processes(running_service: RunningService) -> None:
    """Each connection may land on either process; the page speaks for both."""

    def count(text: str, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def searches(text: str) -> tuple[float, ...]:
        """Whole searches in mode fast, their recalls, and scorings, of which they have none."""
        stage = "qasir_search_stage_seconds_count"
        return (
            count(text, "qasir_search_seconds_count", mode="fast"),
            count(text, stage, stage="recall"),
            count(text, stage, stage="score"),
        )

    def fresh(method: str, path: str, **options: Any) -> httpx.Response:
        with httpx.Client(base_url=running_service.http.base_url, timeout=30) as http:
            return http.request(method, path, **options)

    before = searches(fresh("GET", "/metrics").text)
    asked = {"query": "a running dog", "mode": "fast"}
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: fresh("POST", "/v1/search", json=asked), range(20)))
    pages = [fresh("GET", "/metrics").text for _ in range(8)]
    after = (before[0] + 20, before[1] + 20, before[2])
    assert [searches(page) for page in pages] == [after] * 8
    assert all("qasir_build_info" in page and "qasir_jobs" in page for page in pages)


def test_worker_counts_what_it_indexed(running_service: RunningService) -> None:
    url = f"http://127.0.0.1:{running_service.settings.worker_metrics_port}/metrics"

    def total(name: str) -> float:
        families = text_string_to_metric_families(httpx.get(url).text)
        samples = [sample for family in families for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name == name)

    names = (
        "qasir_video_seconds_indexed_total",
        "qasir_windows_encoded_total",
        "qasir_job_wait_seconds_count",
    )
    before = [total(name) for name in names]
    running_service.ingested(seconds=7)
    gained = [total(name) - old for name, old in zip(names, before, strict=True)]
    assert gained == [pytest.approx(7), 1, 1]
    assert httpx.get(url.replace("/metrics", "/")).status_code == 404


def test_clients_of_bentoml_get_the_same_answer(running_service: RunningService) -> None:
    running_service.ingested()
    # In a process of its own: BentoML's client leaves a temporary folder to the interpreter.
    url = str(running_service.http.base_url)
    done = subprocess.run(
        [sys.executable, "-c", BENTOML_CLIENT, url], capture_output=True, text=True, check=True
    )
    found, vectors = json.loads(done.stdout)
    mine = running_service.http.post("/v1/search", json={"query": "a house", "top_k": 100}).json()
    assert found["results"]
    assert_alike(found["results"], mine["results"])
    assert len(vectors["vectors"][0]) == 32


def test_bentoml_routes_report_errors_alike(running_service: RunningService) -> None:
    answer = running_service.http.post("/search", json={"query": " "})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_curl_can_upload(running_service: RunningService) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    path: Path = running_service.new_video()
    url = f"{running_service.http.base_url}/v1/videos"
    done = subprocess.run(
        ["curl", "-sS", "-F", f"video=@{path}", url], capture_output=True, text=True, check=True
    )
    assert running_service.finished(json.loads(done.stdout)["job_id"])["state"] == "ready"
