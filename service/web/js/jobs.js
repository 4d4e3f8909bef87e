// Jobs as they change, by server-sent events.

// A browser holds six connections to a host, and the page needs some for itself.
const STREAMS = 2;
const ENDED = ["ready", "failed", "cancelled"];

const waiting = [];
const streams = new Map();

/** Whether a job has ended. */
export function hasEnded(job) {
  return ENDED.includes(job.state);
}

/** Hear of a job until it ends. Only the first few are heard at once: the queue serves them first. */
export function watch(jobId, onJob) {
  if (streams.has(jobId) || waiting.some((one) => one.jobId === jobId)) return;
  waiting.push({ jobId, onJob });
  next();
}

/** Hear no more of a job. */
export function unwatch(jobId) {
  const at = waiting.findIndex((one) => one.jobId === jobId);
  if (at >= 0) waiting.splice(at, 1);
  streams.get(jobId)?.close();
  streams.delete(jobId);
  next();
}

function next() {
  while (streams.size < STREAMS && waiting.length > 0) {
    const { jobId, onJob } = waiting.shift();
    streams.set(jobId, listen(jobId, onJob));
  }
}

function listen(jobId, onJob) {
  const stream = new EventSource(`/v1/jobs/${encodeURIComponent(jobId)}/events`);
  stream.addEventListener("job", ({ data }) => {
    const job = JSON.parse(data);
    if (hasEnded(job)) unwatch(jobId);
    onJob(job);
  });
  stream.addEventListener("error", () => {
    // Closed for good: the job is gone with its video. Else the browser connects again.
    if (stream.readyState === EventSource.CLOSED) unwatch(jobId);
  });
  return stream;
}
