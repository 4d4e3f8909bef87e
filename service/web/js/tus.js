// Sending a file by tus 1.0.0 (docs/jobs.md): what has arrived is not sent again.

import { Problem, ask, patch, pause, request, tolerate } from "./http.js";
import { forget, keep, recall } from "./unfinished.js";

const SPEAK = { "Tus-Resumable": "1.0.0" };
const BODY_TYPE = "application/offset+octet-stream";
// A proxy may hold a request back until it is whole, so a broken one brings nothing: slices
// are small at first and after a break, and double while all goes well.
const SMALLEST_SLICE = 1 << 20;
const LARGEST_SLICE = 16 << 20;
// Tries in a row that the service answered and that brought nothing further.
const TRIES = 5;
const LONGEST_PAUSE_SECONDS = 15;

/**
 * Send a video, going on where it was interrupted: its job, and whether its bytes were known.
 *
 * `onBytes(arrived)` hears how far it is, `onPause(problem, seconds)` of a lost connection, which
 * is waited for, or of a service that asks to come later. Throws a Problem, or an AbortError.
 */
export async function sendVideo(file, { onBytes, onPause, signal }) {
  const upload = new Upload(file, onBytes, signal);
  for (let tries = 0, pauses = 0; ; ) {
    const before = upload.arrived;
    try {
      return await upload.goOn();
    } catch (error) {
      if (!mayPass(error)) throw error;
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

/** End a file's upload: what has arrived goes. */
export function giveUp(file) {
  const place = recall(file);
  forget(file);
  // Not heard? Then the service lets it expire.
  if (place !== null) request(place, { method: "DELETE", headers: SPEAK }).catch(tolerate);
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

  async goOn() {
    this.reached = false;
    try {
      const place = recall(this.#file) ?? (await this.#begin());
      this.#hear(await request(place, { method: "HEAD", headers: SPEAK, signal: this.#signal }));
      this.reached = true;
      while (this.#became === null) await this.#send(place);
      const { id, known } = this.#became;
      const job = await ask(`/v1/jobs/${id}`, { signal: this.#signal });
      forget(this.#file);
      return { job, known };
    } catch (error) {
      this.#slice = SMALLEST_SLICE;
      // What left the browser may be on its way still, or lost: only what is known counts.
      if (this.reached) this.#onBytes(this.arrived);
      // Expired, or deleted as a video: it is begun anew.
      if (error.status === 404) forget(this.#file);
      throw error;
    }
  }

  async #begin() {
    const headers = {
      ...SPEAK,
      "Upload-Length": String(this.#file.size),
      "Upload-Metadata": `filename ${base64(this.#file.name)}`,
    };
    const made = await request("/v1/uploads", { method: "POST", headers, signal: this.#signal });
    const place = made.headers.get("Location");
    keep(this.#file, place);
    return place;
  }

  async #send(place) {
    const begin = this.arrived;
    const headers = { ...SPEAK, "Upload-Offset": String(begin), "Content-Type": BODY_TYPE };
    const body = await read(this.#file.slice(begin, begin + this.#slice));
    this.#signal.throwIfAborted();
    const onBytes = (sent) => this.#onBytes(begin + sent);
    this.#hear(await patch(place, { headers, body, onBytes, signal: this.#signal }));
    this.#slice = Math.min(LARGEST_SLICE, this.#slice * 2);
    if (this.#became === null && this.arrived <= begin) {
      throw new Problem({ detail: "Nothing arrived.", status: 409, retryable: false });
    }
  }

  #hear({ headers }) {
    this.arrived = Number(headers.get("Upload-Offset"));
    this.#onBytes(this.arrived);
    const id = headers.get("Qasir-Job-Id");
    this.#became = id && { id, known: headers.get("Qasir-Existing") === "true" };
  }
}

// 404: expired. 409: another request has the upload, or has sent these bytes.
function mayPass(error) {
  return error instanceof Problem && (error.retryable || [404, 409].includes(error.status));
}

async function read(slice) {
  try {
    return await slice.arrayBuffer();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    const detail = "The file has changed or is gone; add it again.";
    throw new Problem({ detail, code: "unreadable", retryable: false });
  }
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
