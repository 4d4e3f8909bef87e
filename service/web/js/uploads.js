// Uploads: files are sent two at a time, then followed as jobs.

import { counted, length, size } from "./format.js";
import { Problem, ask } from "./http.js";
import { jobRows } from "./job_rows.js";
import { cancelUpload, sendVideo } from "./tus.js";
import { keyOf } from "./unfinished.js";
import { UploadRow } from "./upload_row.js";

const SENDING = 2;

/** The panel of uploads; calls `onChange` when the library has changed. */
export function uploads(panel, { onChange }) {
  const list = panel.querySelector("ul");
  const heading = panel.querySelector("h2");
  const jobs = jobRows({ onShow: count, onEnd: onChange });
  const queue = [];
  const active = new Set();
  let sending = 0;
  panel.querySelector(".clear").addEventListener("click", clear);

  /** Add files from the chooser or a drop, except those that are being sent already. */
  function add(files) {
    for (const file of files) {
      if (active.has(keyOf(file))) continue;
      const item = { file, row: rowOf(file.name), stop: new AbortController() };
      item.row.stop(() => withdraw(item));
      active.add(keyOf(file));
      queue.push(item);
    }
    next();
  }

  function withdraw(item) {
    item.stop.abort();
    cancelUpload(item.file);
    const at = queue.indexOf(item);
    if (at < 0) return;
    queue.splice(at, 1);
    fail(item.stop.signal.reason, item);
  }

  /** Follow the jobs that are running or queued, whoever uploaded the videos. */
  async function resume() {
    const pages = await Promise.all(
      ["running", "queued"].map((state) => ask(`/v1/jobs?state=${state}&limit=20`)),
    );
    for (const job of pages.flatMap(({ jobs: some }) => some)) {
      if (jobs.has(job.video_id)) continue;
      const { title } = await ask(`/v1/videos/${job.video_id}`);
      jobs.follow(job, rowOf(title));
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

  async function send(item) {
    const { file, row, stop } = item;
    try {
      const { job, existing } = await sendVideo(file, { ...progress(file, row), signal: stop.signal });
      active.delete(keyOf(file));
      onChange();
      jobs.follow(job, row);
      if (existing && job.state === "ready") row.setText("already in the library");
    } catch (error) {
      fail(error, item);
    }
  }

  function progress(file, row) {
    let sent = "";
    const onBytes = (arrived) => {
      sent = `${size(arrived)} of ${size(file.size)}`;
      row.show(`sending ${sent}`, arrived / file.size);
    };
    const onPause = ({ status, message }, seconds) => {
      const lost = sent ? `waiting for the connection, ${sent} sent` : "waiting for the connection";
      row.pause(status === 0 ? lost : `${message} Trying again in ${length(seconds)}.`);
    };
    return { onBytes, onPause };
  }

  function fail(error, { file, row }) {
    active.delete(keyOf(file));
    if (error.name === "AbortError") row.end("cancelled", "not sent");
    else if (error instanceof Problem) row.end("failed", error.message);
    else throw error;
    row.offer("retry", "Try again", () => {
      row.remove();
      add([file]);
    });
    count();
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
    heading.textContent = open ? `${counted(open, "upload")} in progress` : "All done";
    panel.hidden = list.children.length === 0;
  }

  return { add, resume };
}
