"""Requests to a qasir service: typed answers, the errors of `qasir.errors`, second tries."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from qasir.errors import InvalidInput, ModelUnavailable, QasirError, error_from_code

# Answers that say "later": to what may be sent twice, the request is sent again.
LATER = (429, 503)
TRIES = 4
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0

T = TypeVar("T")


class Transport:
    """A service by its URL; safe to share between threads.

    Raises:
        InvalidInput: the URL is none.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = _checked(url).rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout)

    def close(self) -> None:
        """Give up the connections."""
        self._http.close()

    def call(self, kind: type[T], method: str, path: str, **request: Any) -> T:
        """Send a request and read its answer as a `kind`; options as those of `send`."""
        return self.read(kind, self.send(method, path, **request).content)

    def send(
        self, method: str, path: str, *, again: bool | None = None, **request: Any
    ) -> httpx.Response:
        """Send a request; one that may be sent twice (`again`) waits where the service says later.

        Raises:
            QasirError: the class that has the answer's `code`.
            ModelUnavailable: no service answers.
        """
        repeatable = method in ("GET", "HEAD", "DELETE") if again is None else again
        tries = TRIES if repeatable else 1
        for attempt in range(1, tries + 1):
            with self.reachable():
                answer = self._http.request(method, path, **request)
            if answer.status_code not in LATER or attempt == tries:
                break
            time.sleep(_pause(attempt, answer))
        if answer.is_error:
            raise problem(answer)
        return answer

    @contextmanager
    def stream(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:
        """An answer that is read as it comes."""
        with self.reachable(), self._http.stream(method, path, **request) as answer:
            if answer.is_error:
                answer.read()
                raise problem(answer)
            yield answer

    def read(self, kind: type[T], content: bytes | str) -> T:
        """JSON as a `kind`."""
        try:
            return TypeAdapter(kind).validate_json(content)
        except ValidationError as error:
            raise QasirError(
                f"{self.url} answered what this client does not read: {error}; "
                f"use the same version of qasir on both sides"
            ) from error

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """Say in our words that nobody answers."""
        try:
            yield
        except httpx.HTTPError as error:
            raise ModelUnavailable(
                f"no answer from a qasir service at {self.url} ({error}); start one with "
                f"`qasir up`, or name another with --url"
            ) from error


def problem(answer: httpx.Response) -> QasirError:
    """The error that an answer tells of."""
    try:
        told = answer.json()
        return error_from_code(told["code"], told["detail"])
    except (ValueError, KeyError, TypeError):
        words = answer.text.strip()[:200] or answer.reason_phrase
        return QasirError(
            f"{answer.request.url} answered {answer.status_code}: {words}; see that the URL is "
            f"that of a qasir service"
        )


def _checked(url: str) -> str:
    """The URL, if requests can go there.

    Raises:
        InvalidInput: it is none.
    """
    with suppress(httpx.InvalidURL):
        parsed = httpx.URL(url)
        if parsed.scheme in ("http", "https") and parsed.host:
            return url
    # Without a scheme, too, what stands before an @ may be a password.
    shown = url if "://" in url or "@" not in url else f"***@{url.rpartition('@')[2]}"
    raise InvalidInput(f"'{shown}' is no URL of a service; write it as http://host:port")


def _pause(attempt: int, answer: httpx.Response) -> float:
    """Seconds as the service says, else longer each time; never all clients at once."""
    said = answer.headers.get("retry-after", "")
    wait = float(said) if said.isdecimal() else FIRST_PAUSE_SECONDS * 2**attempt
    return min(LONGEST_PAUSE_SECONDS, wait) * random.uniform(1.0, 1.2)
