// Files on their way into the library: sent two at a time, then followed as jobs.

import { length, size } from "./format.js";
import { Problem, ask } from "./http.js";
import { jobRows } from "./job_rows.js";
import { giveUp, sendVideo } from "./tus.js";
import { keyOf } from "./unfinished.js";
import { UploadRow } from "./upload_row.js";

const SENDING = 2;

/** The panel of uploads; `onChange` hears when the library has changed. */
export function uploads(panel, { onChange }) {
  const list = panel.querySelector("ul");
  const heading = panel.querySelector("h2");
  const jobs = jobRows({ onShow: count, onEnd: onChange });
  const queue = [];
  const underWay = new Set();
  let sending = 0;
  panel.querySelector(".clear").addEventListener("click", clear);

  /** Take files of a chooser or a drop; one that is being sent already is on the list. */
  function add(files) {
    for (const file of files) {
      if (underWay.has(keyOf(file))) continue;
      const one = { file, row: rowOf(file.name), stop: new AbortController() };
      one.row.stop(() => withdraw(one));
      underWay.add(keyOf(file));
      queue.push(one);
    }
    next();
  }

  function withdraw(one) {
    one.stop.abort();
    giveUp(one.file);
    const at = queue.indexOf(one);
    if (at < 0) return;
    queue.splice(at, 1);
    refuse(one.stop.signal.reason, one);
  }

  /** Follow jobs that run already, whoever sent their videos. */
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

  async function send(one) {
    const { file, row, stop } = one;
    try {
      const { job, known } = await sendVideo(file, { ...progress(file, row), signal: stop.signal });
      underWay.delete(keyOf(file));
      onChange();
      jobs.follow(job, row);
      if (known && job.state === "ready") row.say("was here already");
    } catch (error) {
      refuse(error, one);
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
      row.pause(status === 0 ? lost : `${message} Again in ${length(seconds)}.`);
    };
    return { onBytes, onPause };
  }

  function refuse(error, { file, row }) {
    underWay.delete(keyOf(file));
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
    heading.textContent = open ? `${open} on the way` : "All done";
    panel.hidden = list.children.length === 0;
  }

  return { add, resume };
}
