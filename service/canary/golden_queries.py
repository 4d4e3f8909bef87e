"""`canary.yaml`: an operator's queries, each with the video that it must find.

pairs:
  - query: a dog runs on the beach
    video: v0123456789abcdef0123
    within: 3        # among the first three; default 1
"""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qasir.contract.search import SearchRequest
from qasir.errors import CorruptArtifact, InvalidConfig
from service.search.engine import SearchEngine
from service.settings import CanarySettings

MAX_BYTES = 64 << 10
MAX_PAIRS = 50
# A wider limit would prove nothing.
MAX_WITHIN = 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GoldenQuery(_Strict):
    """A query, the id of the video it must find, and among how many results."""

    query: str = Field(min_length=1)
    video: str = Field(min_length=1)
    within: int = Field(default=1, ge=1, le=MAX_WITHIN)


class GoldenQueries(_Strict):
    """The whole file."""

    pairs: tuple[GoldenQuery, ...] = Field(max_length=MAX_PAIRS)


def read_golden_queries(path: Path, *, must_exist: bool = False) -> tuple[GoldenQuery, ...]:
    """Read the queries of a file; none where there is no file, unless it `must_exist`.

    Raises:
        InvalidConfig: the file cannot be read, is too large, or has another shape.
    """
    try:
        if not path.exists() and not must_exist:
            return ()
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InvalidConfig(
                f"{path} has {size} bytes, the limit is {MAX_BYTES}; keep fewer pairs"
            )
        return GoldenQueries.model_validate(yaml.safe_load(path.read_bytes())).pairs
    except ValidationError as error:
        raise InvalidConfig(f"{path}: {_explain(error)}; see docs/observability.md") from error
    except (OSError, yaml.YAMLError) as error:
        raise InvalidConfig(f"{path}: {' '.join(str(error).split())}") from error


def check_golden_queries(engine: SearchEngine, settings: CanarySettings) -> str | None:
    """Search for each golden query as a client does.

    Raises:
        CorruptArtifact: a video is not among the results of its query.
        InvalidConfig: the file of queries is wrong.
    """
    path = settings.canary_path
    queries = read_golden_queries(path, must_exist=settings.canary_file is not None)
    for golden in queries:
        answer = engine.search(SearchRequest(query=golden.query, top_k=golden.within))
        if golden.video not in [result.video.id for result in answer.results]:
            raise CorruptArtifact(
                f"video {golden.video} is not among the first {golden.within} of its known "
                f"query; see entry '{golden.video}' of {path}"
            )
    return f"{len(queries)} pairs" if queries else None


def _explain(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
        for fault in error.errors()
    )
