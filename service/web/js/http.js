// Requests to the service, and its refusals in its own words.

const RETRIES = 4;
const DEFAULT_WAIT_SECONDS = 2;
// How long a request may make no headway before its connection counts as lost; and how long
// the answer to bytes may take: with the last ones the service reads the whole file once.
const SILENCE_SECONDS = 30;
const ANSWER_SECONDS = 600;

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
  const { text } = await request(path, { method, headers, signal, body: body && JSON.stringify(body) });
  return text ? JSON.parse(text) : null;
}

/** Ask for text, as /metrics is. */
export async function askText(path, { signal } = {}) {
  return (await request(path, { signal })).text;
}

/** Ask for an answer's text and headers; throws as `ask` does. */
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

/** PATCH bytes; `onBytes(sent)` hears how far it is, which fetch cannot tell. Throws as `ask` does. */
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

/** Wait, at most until the browser says that it has a connection again. */
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
    // Not the service's own words: something stands between.
    const retryable = status === 429 || status >= 500;
    const detail = `The answer was ${status}.`;
    return new Problem({ detail, status, retryable, retryAfter: seconds });
  }
}
