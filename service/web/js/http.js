// Requests to the service, and its errors in its own words.

const RETRIES = 4;
const DEFAULT_WAIT_SECONDS = 2;
// A connection counts as lost after so many seconds without progress. The answer may take longer:
// after the last bytes the service reads the whole file once.
const SILENCE_SECONDS = 30;
const ANSWER_SECONDS = 600;

/** An error that the service answered (problem+json), or that it did not answer at all. */
export class Problem extends Error {
  constructor({ detail, code = "unreachable", status = 0, retryable = true, retryAfter = null }) {
    super(detail);
    Object.assign(this, { code, status, retryable, retryAfter });
  }
}

/** Request JSON; throws a Problem, or an AbortError if `signal` aborts. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const { text } = await request(path, { method, headers, signal, body: body && JSON.stringify(body) });
  return text ? JSON.parse(text) : null;
}

/** Request text, such as /metrics. */
export async function askText(path, { signal } = {}) {
  return (await request(path, { signal })).text;
}

/** Request text and headers of an answer; throws like `ask`. */
export async function request(path, options) {
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (!response.ok) throw problem(response.status, text, response.headers.get("Retry-After"));
  return { text, headers: response.headers };
}

/** PATCH bytes; calls `onBytes(sent)` with the progress, which fetch cannot report. Throws like `ask`. */
export function patch(path, { headers, body, onBytes, signal }) {
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    const stop = () => sent.abort();
    let silence;
    const waitFor = (seconds) => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        reject(unreachable());
        stop();
      }, seconds * 1000);
    };
    sent.upload.onprogress = (event) => {
      onBytes(event.loaded);
      waitFor(event.loaded < event.total ? SILENCE_SECONDS : ANSWER_SECONDS);
    };
    sent.onerror = () => reject(unreachable());
    sent.onabort = () => reject(new DOMException("stopped", "AbortError"));
    sent.onload = () => {
      const { status, responseText } = sent;
      if (status < 300) resolve({ headers: { get: (name) => sent.getResponseHeader(name) } });
      else reject(problem(status, responseText, sent.getResponseHeader("Retry-After")));
    };
    sent.onloadend = () => {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
    };
    signal.addEventListener("abort", stop);
    sent.open("PATCH", path);
    for (const [name, value] of Object.entries(headers)) sent.setRequestHeader(name, value);
    sent.send(body);
    waitFor(SILENCE_SECONDS);
  });
}

/** For a promise's catch: ignore an error of the service, rethrow a bug of the page. */
export function tolerate(error) {
  if (!(error instanceof Problem)) throw error;
}

/** Retry while the service asks for it; calls `onWait(seconds, problem)` before each pause. */
export async function patiently(call, { onWait, signal }) {
  for (let left = RETRIES; ; left -= 1) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof Problem) || !error.retryable || left === 0) throw error;
      const seconds = error.retryAfter ?? DEFAULT_WAIT_SECONDS;
      onWait(seconds, error);
      await pause(seconds, signal);
    }
  }
}

/** Wait, but no longer than until the browser is online again. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const end = (settle) => {
      clearTimeout(timer);
      over.abort();
      settle();
    };
    const timer = setTimeout(() => end(resolve), seconds * 1000);
    addEventListener("online", () => end(resolve), { signal: over.signal });
    const stopped = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => end(stopped), { signal: over.signal });
  });
}

function unreachable() {
  return new Problem({ detail: "The service does not answer." });
}

function problem(status, text, retryAfter) {
  const seconds = retryAfter === null ? null : Number(retryAfter);
  try {
    const { detail, code, retryable } = JSON.parse(text);
    return new Problem({ detail, code, status, retryable, retryAfter: seconds });
  } catch {
    // Not problem+json: a proxy answered.
    const retryable = status === 429 || status >= 500;
    const detail = `The server answered ${status}.`;
    return new Problem({ detail, status, retryable, retryAfter: seconds });
  }
}
