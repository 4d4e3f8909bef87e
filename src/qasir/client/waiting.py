"""Following a job to its end, by whichever transport tells of it."""

import time
from collections.abc import Callable, Iterator

from qasir.client.results import Job
from qasir.errors import ModelUnavailable, QasirError, error_from_code

FINAL = ("ready", "failed", "cancelled")
# Between two looks at a job whose stream broke off, and how long nothing may be heard of it.
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0

# The job as it is now, then each change, until nothing was heard for so many seconds.
Watch = Callable[[float], Iterator[Job]]


def wait_for_end(job_id: str, watch: Watch, on_job: Callable[[Job], None], timeout: float) -> Job:
    """The job at its end; `on_job` hears of each change once.

    Raises:
        QasirError: the error of a job that failed, or of a watch that cannot go on.
        ModelUnavailable: it has not ended after `timeout` seconds.
    """
    job = _last_seen(watch, on_job, time.monotonic() + timeout)
    if job is None or job.state not in FINAL:
        state = "not heard of" if job is None else job.state
        raise ModelUnavailable(
            f"job {job_id} is {state} after {timeout:g} s; wait longer, and see "
            f"that the worker runs: `qasir doctor`"
        )
    if job.error is not None:
        raise error_from_code(job.error.code, job.error.detail)
    return job


def _last_seen(watch: Watch, on_job: Callable[[Job], None], deadline: float) -> Job | None:
    """The job at its end, or as it was at the deadline."""
    job: Job | None = None
    heard = time.monotonic()
    while (left := deadline - time.monotonic()) > 0:
        try:
            for now in watch(left):
                heard = time.monotonic()
                if now != job:
                    on_job(now)
                job = now
                if job.state in FINAL or heard >= deadline:
                    return job
        except QasirError as error:
            # A quiet job, or a service that starts again; the job goes on meanwhile.
            if not error.retryable or time.monotonic() - heard > PATIENCE_SECONDS:
                raise
        time.sleep(min(PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
    return job
