"""Where things run and how much they may use: environment variables `QASIR_*`.

What changes results is in `params.yaml`. Unknown names and bad values are errors, so
that a misspelt limit cannot silently leave the default in force.
"""

import difflib
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from qasir.config import CANDIDATES
from qasir.errors import InvalidConfig
from service.folders import StateFolders

PREFIX = "QASIR_"
ROOT = Path(__file__).resolve().parents[1]
CONFIG = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True)

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class StateSettings(BaseSettings):
    """Where the state folder is, and what its disk must keep free."""

    model_config = CONFIG

    state: Path = Path("state")
    disk_reserve_bytes: int = Field(default=1 << 30, ge=0)

    @cached_property
    def folders(self) -> StateFolders:
        """Return the folders under `QASIR_STATE`."""
        return StateFolders(self.state.absolute())


class TritonSettings(StateSettings):
    """Where Triton listens and how it is called."""

    triton_host: str = "127.0.0.1"
    triton_http_port: Port = 8000
    triton_grpc_port: Port = 8001
    triton_metrics_port: Port = 8002
    triton_home: Path = Path(".triton")
    triton_key: str | None = None
    triton_seconds: Seconds = 30.0

    @property
    def triton_url(self) -> str:
        """Return host:port of Triton's gRPC endpoint."""
        return f"{self.triton_host}:{self.triton_grpc_port}"


class ModelSettings(StateSettings):
    """How many model versions are retained, and how an activation waits."""

    max_model_versions: Count = 3
    switch_seconds: Seconds = 60.0


class SearchSettings(StateSettings):
    """Limits of a search and what it remembers."""

    search_seconds: Seconds = 5.0
    max_query_chars: Count = 500
    max_top_k: Count = 100
    max_offset: int = Field(default=1000, ge=0)
    max_context_seconds: Seconds = 600.0
    max_picture_bytes: Count = 3 << 20
    max_picture_pixels: Count = 50_000_000
    text_cache: Count = 4096
    candidates: Count = CANDIDATES
    candidate_embeddings: Count = 4
    max_reranker_requests: Count = 1000


class UploadSettings(StateSettings):
    """Limits of an upload and of what waits to be ingested."""

    max_upload_bytes: Count = 8 << 30
    max_metadata_bytes: Count = 16 << 10
    max_title_chars: Count = 300
    max_unfinished_uploads: Count = 100
    max_queued_jobs: Count = 1000
    upload_expires_seconds: Seconds = 24 * 3600.0


class IngestSettings(StateSettings):
    """Limits of decoding and encoding one video."""

    max_video_seconds: Seconds = 6 * 3600.0
    max_frame_pixels: Count = 8192 * 4320
    triton_patience_seconds: Seconds = 120.0
    decode_stall_seconds: Seconds = 60.0
    decode_memory_bytes: Count = 8 << 30
    job_attempts: Count = 3
    orphan_days: int = Field(default=7, ge=0)
    poll_seconds: Seconds = 0.5


class RequestSettings(StateSettings):
    """How many requests a process serves at once, and how long they may take."""

    max_page: Count = 200
    max_requests: Count = 256
    parallel_searches: Count = 4
    waiting_searches: int = Field(default=64, ge=0)
    parallel_uploads: Count = 8
    job_streams: Count = 64
    upload_seconds: Seconds = 3600.0
    withdraw_seconds: float = Field(default=1.0, ge=0)
    drain_seconds: Seconds = 10.0
    request_stall_seconds: Seconds = 60.0


class CanarySettings(StateSettings):
    """How often the canary runs, and the operator's golden queries."""

    canary_seconds: float = Field(default=60.0, ge=0)
    canary_file: Path | None = None

    @property
    def canary_path(self) -> Path:
        """Return the file of golden queries: `canary.yaml` in the state folder unless set."""
        return self.canary_file or self.folders.root / "canary.yaml"


class TraceSettings(BaseSettings):
    """Where spans go, by OpenTelemetry's own variables."""

    model_config = CONFIG

    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    traces_exporter: Literal["otlp", "console", "none"] = Field(
        default="otlp", validation_alias="OTEL_TRACES_EXPORTER"
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str | None) -> str | None:
        url = urlsplit(endpoint or "http://unset")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("give the URL of an OTLP/HTTP endpoint, such as http://127.0.0.1:4318")
        return endpoint or None

    @property
    def traces_url(self) -> str | None:
        """Return the URL that takes spans; None: they are not sent.

        >>> TraceSettings(otlp_endpoint="http://127.0.0.1:4318").traces_url
        'http://127.0.0.1:4318/v1/traces'
        """
        if self.otlp_endpoint is None or self.traces_exporter != "otlp":
            return None
        return f"{self.otlp_endpoint.rstrip('/')}/v1/traces"


class Settings(
    TraceSettings,
    TritonSettings,
    ModelSettings,
    SearchSettings,
    UploadSettings,
    IngestSettings,
    RequestSettings,
    CanarySettings,
):
    """Every setting of triton, service and worker; the field `x` is read from `QASIR_X`.

    A class that needs some of them takes the group that has them.
    """

    host: str = "127.0.0.1"
    http_port: Port = 3000
    grpc_port: Port = 50051
    worker_host: str = "127.0.0.1"
    worker_metrics_port: Port = 3001
    prometheus_port: Port = 9090
    node_exporter_port: Port = 9100
    workers: Count = 2
    # Beside the code: the checkout's, or the copy that a Bento carries.
    evaluation: Path = ROOT / "results" / "metrics.json"

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give another process these settings."""
        values = self.model_dump(exclude_defaults=True, exclude_none=True)
        return {variable(name): str(value) for name, value in values.items()}


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        InvalidConfig: a `QASIR_` name is unknown or a value is outside its limits.
    """
    known = {variable(field) for field in Settings.model_fields}
    for name in sorted(name for name in os.environ if name.startswith(PREFIX)):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            raise InvalidConfig(f"unknown setting {name}; {hint}")
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"{_variable_at(fault['loc'][0])}={fault['input']!r}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise InvalidConfig("; ".join(faults)) from error


def variable(field: str) -> str:
    """Return the environment variable of a field."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field.upper()}"


def _variable_at(location: int | str) -> str:
    # Pydantic names a field that has an alias by that.
    name = str(location)
    return variable(name) if name in Settings.model_fields else name
