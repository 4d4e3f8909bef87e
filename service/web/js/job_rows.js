// Rows of uploaded videos, which show their jobs until they end.

import { announce } from "./elements.js";
import { length, percent } from "./format.js";
import { Problem, ask } from "./http.js";
import { hasEnded, unwatch, watch } from "./jobs.js";

const STAGES = {
  probe: "reading the file",
  decode: "decoding",
  tile: "tiling",
  encode: "encoding",
  commit: "finishing",
};
const STATES = { ready: "searchable", cancelled: "cancelled", queued: "waiting its turn" };

/** Calls `onShow` after every change and `onEnd` when a job has ended. */
export function jobRows({ onShow, onEnd }) {
  const rows = new Map();

  /** Show a job on this row, which replaces an earlier one of the same video. */
  function follow(job, row) {
    const earlier = rows.get(job.video_id);
    if (earlier && earlier !== row) {
      unwatch(job.id);
      earlier.remove();
    }
    rows.set(job.video_id, row);
    row.stop(() => act(job, "cancel", row));
    show(job, row);
    if (!hasEnded(job)) watch(job.id, (changed) => show(changed, row));
  }

  function show(job, row) {
    if (!hasEnded(job)) {
      const eta = job.eta_seconds ? ` · about ${length(job.eta_seconds)} left` : "";
      const doing = job.stage ? `${STAGES[job.stage]} ${percent(job.progress)}${eta}` : STATES.queued;
      row.show(doing, job.progress ?? 0);
    } else {
      rows.delete(job.video_id);
      row.end(job.state, job.error?.detail ?? STATES[job.state]);
      if (job.state === "ready") row.link(job.video_id);
      else if (job.error?.retryable ?? true) {
        row.offer("retry", "Try again", () => act(job, "retry", row));
      }
      announce(`${row.name}: ${job.error?.detail ?? STATES[job.state]}`);
      onEnd();
    }
    onShow();
  }

  async function act(job, verb, row) {
    try {
      const changed = await ask(`/v1/jobs/${job.id}/${verb}`, { method: "POST" });
      if (changed.id !== job.id) unwatch(job.id);
      follow(changed, row);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      row.show(error.message, job.progress ?? 0);
    }
  }

  return { follow, has: (videoId) => rows.has(videoId) };
}
