"""The interactive page of the HTTP API shows every operation and can call them, offline."""

import json

from playwright.sync_api import expect

from service.http.app import create_app
from tests.support.browser import Reader


def test_every_operation_is_shown_and_one_is_called(reader: Reader) -> None:
    operations = [
        operation["operationId"]
        for path in create_app().openapi()["paths"].values()
        for operation in path.values()
    ]
    page = reader.visit("/docs")
    expect(page.locator(".opblock")).to_have_count(len(operations))
    assert all(page.locator(f".opblock[id$='-{name}']").count() == 1 for name in operations)
    models = page.locator("#operations-models-list_models")
    models.locator(".opblock-summary-control").click()
    models.locator(".try-out__btn").click()
    models.locator(".execute").click()
    answer = models.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status")).to_contain_text("200")
    body = answer.locator(".highlight-code code").first.inner_text()
    assert json.loads(body)["models"][0]["name"] == "tiny"
