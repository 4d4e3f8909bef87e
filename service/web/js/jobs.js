// Progress of jobs, from server-sent events.

// A browser opens six connections per host, and the page needs some for other requests.
const STREAMS = 2;
const ENDED = ["ready", "failed", "cancelled"];

const waiting = [];
const streams = new Map();

/** Whether a job has ended. */
export function hasEnded(job) {
  return ENDED.includes(job.state);
}

/** Call `onJob` for every change until the job ends. Only the first jobs have a stream: they run first. */
export function watch(jobId, onJob) {
  if (streams.has(jobId) || waiting.some((item) => item.jobId === jobId)) return;
  waiting.push({ jobId, onJob });
  next();
}

/** Stop watching a job. */
export function unwatch(jobId) {
  const at = waiting.findIndex((item) => item.jobId === jobId);
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
    // CLOSED: the job was deleted with its video. Otherwise the browser reconnects.
    if (stream.readyState === EventSource.CLOSED) unwatch(jobId);
  });
  return stream;
}
