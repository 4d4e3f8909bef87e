// Files on their way into the library: sent two at a time, then followed as jobs.

import { announce } from "./elements.js";
import { length, percent, size } from "./format.js";
import { Problem, ask, patiently, sendVideo } from "./http.js";
import { hasEnded, unwatch, watch } from "./jobs.js";
import { UploadRow } from "./upload_row.js";

const SENDING = 2;
const STAGES = {
  probe: "looking at the file",
  decode: "decoding",
  tile: "tiling",
  encode: "encoding",
  commit: "finishing",
};
const STATES = { ready: "searchable", cancelled: "cancelled", queued: "waiting its turn" };

/** The panel of uploads; `onChange` hears when the library has changed. */
export function uploads(panel, { onChange }) {
  const list = panel.querySelector("ul");
  const heading = panel.querySelector("h2");
  const queue = [];
  const items = new Map();
  let sending = 0;
  panel.querySelector(".clear").addEventListener("click", clear);

  /** Take files of a chooser or a drop. */
  function add(files) {
    for (const file of files) {
      const one = { file, row: rowOf(file.name), stop: new AbortController() };
      one.row.stop(() => withdraw(one));
      queue.push(one);
    }
    next();
  }

  function withdraw(one) {
    one.stop.abort();
    const at = queue.indexOf(one);
    if (at < 0) return;
    queue.splice(at, 1);
    one.row.end("cancelled", "not sent");
    count();
  }

  /** Follow jobs that run already, whoever sent their videos. */
  async function resume() {
    const pages = await Promise.all(
      ["running", "queued"].map((state) => ask(`/v1/jobs?state=${state}&limit=20`)),
    );
    for (const job of pages.flatMap(({ jobs }) => jobs)) {
      if (items.has(job.video_id)) continue;
      const { title } = await ask(`/v1/videos/${job.video_id}`);
      followJob(job, rowOf(title));
    }
  }

  function next() {
    while (sending < SENDING && queue.length > 0) {
      sending += 1;
      send(queue.shift()).finally(() => {
        sending -= 1;
        next();
      });
    }
  }

  async function send({ file, row, stop }) {
    const { signal } = stop;
    const onBytes = (sent, total) =>
      row.show(`sending ${size(sent)} of ${size(total)}`, total ? sent / total : 0);
    const onWait = (seconds, { message }) => row.show(`${message} Again in ${length(seconds)}.`, 0);
    try {
      const sent = await patiently(() => sendVideo(file, { onBytes, signal }), { onWait, signal });
      onChange();
      followJob({ id: sent.job_id, video_id: sent.video_id, state: sent.state }, row);
      if (sent.known && sent.state === "ready") row.say("was here already");
    } catch (error) {
      refuse(error, file, row);
    }
    count();
  }

  function refuse(error, file, row) {
    if (error.name === "AbortError") row.end("cancelled", "not sent");
    else if (error instanceof Problem) row.end("failed", error.message);
    else throw error;
    row.offer("retry", "Try again", () => {
      row.remove();
      add([file]);
    });
  }

  function followJob(job, row) {
    items.set(job.video_id, row);
    row.stop(() => act(job, "cancel", row));
    showJob(job, row);
    if (!hasEnded(job)) watch(job.id, (changed) => showJob(changed, row));
  }

  function showJob(job, row) {
    if (!hasEnded(job)) {
      const eta = job.eta_seconds ? ` · about ${length(job.eta_seconds)} left` : "";
      const doing = job.stage ? `${STAGES[job.stage]} ${percent(job.progress)}${eta}` : STATES.queued;
      row.show(doing, job.progress ?? 0);
    } else {
      items.delete(job.video_id);
      row.end(job.state, job.error?.detail ?? STATES[job.state]);
      if (job.state === "ready") row.link(job.video_id);
      else if (job.error?.retryable ?? true) {
        row.offer("retry", "Try again", () => act(job, "retry", row));
      }
      announce(`${row.name}: ${job.error?.detail ?? STATES[job.state]}`);
      onChange();
    }
    count();
  }

  async function act(job, verb, row) {
    try {
      const changed = await ask(`/v1/jobs/${job.id}/${verb}`, { method: "POST" });
      if (changed.id !== job.id) unwatch(job.id);
      followJob(changed, row);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      row.show(error.message, job.progress ?? 0);
    }
  }

  function rowOf(name) {
    const row = new UploadRow(name);
    list.append(row.element);
    panel.hidden = false;
    count();
    return row;
  }

  function clear() {
    for (const done of list.querySelectorAll("[data-state]:not([data-state=''])")) done.remove();
    count();
  }

  function count() {
    const open = list.querySelectorAll("[data-state='']").length;
    heading.textContent = open ? `${open} on the way` : "All done";
    panel.hidden = list.children.length === 0;
  }

  return { add, resume };
}
