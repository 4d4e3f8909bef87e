// Requests to the service, and its refusals in its own words.

const RETRIES = 4;
const DEFAULT_WAIT_SECONDS = 2;

/** What the service answers when it does not do as asked (problem+json). */
export class Problem extends Error {
  constructor({ detail, code = "unreachable", status = 0, retryable = true, retryAfter = null }) {
    super(detail);
    Object.assign(this, { code, status, retryable, retryAfter });
  }
}

/** Ask for JSON; throws a Problem, or an AbortError where `signal` says so. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const sent = { method, headers, signal, body: body && JSON.stringify(body) };
  const response = await fetch(path, sent).catch((error) => {
    throw error.name === "AbortError" ? error : unreachable();
  });
  const text = await response.text();
  if (!response.ok) throw problem(response.status, text, response.headers.get("Retry-After"));
  return text ? JSON.parse(text) : null;
}

/** Ask for text, as /metrics is. */
export async function askText(path, { signal } = {}) {
  const response = await fetch(path, { signal }).catch((error) => {
    throw error.name === "AbortError" ? error : unreachable();
  });
  const text = await response.text();
  if (!response.ok) throw problem(response.status, text, response.headers.get("Retry-After"));
  return text;
}

/** Send a video; `onBytes(sent, total)` hears how far it is. fetch cannot tell that. */
export function sendVideo(file, { onBytes, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("video", file, file.name);
    request.upload.onprogress = (event) => onBytes(Math.min(event.loaded, file.size), file.size);
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onload = () => {
      const { status, responseText } = request;
      if (status < 300) resolve({ ...JSON.parse(responseText), known: status === 200 });
      else reject(problem(status, responseText, request.getResponseHeader("Retry-After")));
    };
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", "/v1/videos");
    request.send(form);
  });
}

/** For a promise's catch: a refusal is let pass, anything else is a fault of the page. */
export function tolerate(error) {
  if (!(error instanceof Problem)) throw error;
}

/** Call again while the service asks to come back later; `onWait(seconds, problem)` says when. */
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

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
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
    // Not the service's own words: something stands between.
    const retryable = status === 429 || status >= 500;
    return new Problem({ detail: `The answer was ${status}.`, status, retryable });
  }
}
