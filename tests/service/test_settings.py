"""Settings: read from the environment, typed, and strict about names."""

from pathlib import Path

import pytest

from qasir.errors import InvalidConfig
from service.settings import load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the shell that runs the tests."""
    import os

    for name in [name for name in os.environ if name.startswith("QASIR_")]:
        monkeypatch.delenv(name)


def test_defaults_bind_loopback() -> None:
    settings = load_settings()
    assert (settings.host, settings.http_port) == ("127.0.0.1", 3000)
    assert settings.triton_url == "127.0.0.1:8001"


def test_environment_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QASIR_STATE", str(tmp_path))
    monkeypatch.setenv("QASIR_MAX_UPLOAD_BYTES", "1000")
    settings = load_settings()
    assert settings.max_upload_bytes == 1000
    assert settings.folders.catalogue == tmp_path / "catalogue.sqlite3"


def test_misspelt_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QASIR_HTTPPORT", "1")
    with pytest.raises(InvalidConfig, match="QASIR_HTTPPORT; did you mean QASIR_HTTP_PORT"):
        load_settings()


def test_variables_of_open_telemetry_have_no_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QASIR_OTLP_ENDPOINT", "http://h:4318")
    with pytest.raises(InvalidConfig, match="unknown setting QASIR_OTLP_ENDPOINT"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("QASIR_HTTP_PORT", "http"), ("QASIR_HTTP_PORT", "70000"), ("QASIR_MAX_VIDEO_SECONDS", "-1")],
)
def test_bad_value_names_itself(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidConfig, match=f"{name}='{value}'"):
        load_settings()
