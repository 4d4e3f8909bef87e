// Sending a file by tus 1.0.0 (docs/jobs.md): what has arrived is not sent again.

import { Problem, ask, patch, pause, request, tolerate } from "./http.js";
import { forget, store, storedUrl } from "./unfinished.js";

const TUS = { "Tus-Resumable": "1.0.0" };
const BODY_TYPE = "application/offset+octet-stream";
// A proxy may buffer a request, so that a broken one transfers nothing: slices are small at first
// and after a failure, and double with each success.
const SMALLEST_SLICE = 1 << 20;
const LARGEST_SLICE = 16 << 20;
// Attempts in a row that the service answered but that made no progress.
const TRIES = 5;
const LONGEST_PAUSE_SECONDS = 15;

/**
 * Send a video, resuming an interrupted upload; returns its job, and whether the service had it.
 *
 * Calls `onBytes(arrived)` with the progress, and `onPause(problem, seconds)` before waiting for
 * a connection or for a busy service. Throws a Problem, or an AbortError.
 */
export async function sendVideo(file, { onBytes, onPause, signal }) {
  const upload = new Upload(file, onBytes, signal);
  for (let tries = 0, pauses = 0; ; ) {
    const before = upload.arrived;
    try {
      return await upload.resume();
    } catch (error) {
      if (!isTemporary(error)) throw error;
      if (upload.arrived > before) tries = pauses = 0;
      pauses += 1;
      if (error.status !== 0 || upload.reached) tries += 1;
      if (tries === TRIES) throw error;
      const seconds = error.retryAfter ?? Math.min(LONGEST_PAUSE_SECONDS, 2 ** (pauses - 2));
      if (error.retryable) onPause(error, seconds);
      await pause(seconds, signal);
    }
  }
}

/** Cancel a file's upload and delete what has arrived. */
export function cancelUpload(file) {
  const place = storedUrl(file);
  forget(file);
  // If this request fails, the upload expires in the service.
  if (place !== null) request(place, { method: "DELETE", headers: TUS }).catch(tolerate);
}

class Upload {
  #file;
  #onBytes;
  #signal;
  #slice = SMALLEST_SLICE;
  #became = null;

  constructor(file, onBytes, signal) {
    this.#file = file;
    this.#onBytes = onBytes;
    this.#signal = signal;
    this.arrived = 0;
    this.reached = false;
  }

  async resume() {
    this.reached = false;
    try {
      const place = storedUrl(this.#file) ?? (await this.#begin());
      this.#receive(await request(place, { method: "HEAD", headers: TUS, signal: this.#signal }));
      this.reached = true;
      while (this.#became === null) await this.#send(place);
      const { id, existing } = this.#became;
      const job = await ask(`/v1/jobs/${id}`, { signal: this.#signal });
      forget(this.#file);
      return { job, existing };
    } catch (error) {
      this.#slice = SMALLEST_SLICE;
      // Sent bytes may be lost: show only what the service confirmed.
      if (this.reached) this.#onBytes(this.arrived);
      // Expired, or deleted as a video: the next attempt starts over.
      if (error.status === 404) forget(this.#file);
      throw error;
    }
  }

  async #begin() {
    const headers = {
      ...TUS,
      "Upload-Length": String(this.#file.size),
      "Upload-Metadata": `filename ${base64(this.#file.name)}`,
    };
    const made = await request("/v1/uploads", { method: "POST", headers, signal: this.#signal });
    const place = made.headers.get("Location");
    store(this.#file, place);
    return place;
  }

  async #send(place) {
    const begin = this.arrived;
    const headers = { ...TUS, "Upload-Offset": String(begin), "Content-Type": BODY_TYPE };
    const body = await read(this.#file.slice(begin, begin + this.#slice));
    this.#signal.throwIfAborted();
    const onBytes = (sent) => this.#onBytes(begin + sent);
    this.#receive(await patch(place, { headers, body, onBytes, signal: this.#signal }));
    this.#slice = Math.min(LARGEST_SLICE, this.#slice * 2);
    if (this.#became === null && this.arrived <= begin) {
      throw new Problem({ detail: "No bytes arrived.", status: 409, retryable: false });
    }
  }

  #receive({ headers }) {
    this.arrived = Number(headers.get("Upload-Offset"));
    this.#onBytes(this.arrived);
    const id = headers.get("Qasir-Job-Id");
    this.#became = id && { id, existing: headers.get("Qasir-Existing") === "true" };
  }
}

// 404: expired. 409: another request holds the upload, or has sent these bytes.
function isTemporary(error) {
  return error instanceof Problem && (error.retryable || [404, 409].includes(error.status));
}

async function read(slice) {
  try {
    return await slice.arrayBuffer();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    const detail = "The file was changed or removed; add it again.";
    throw new Problem({ detail, code: "unreadable", retryable: false });
  }
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
