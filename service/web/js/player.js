// The dialog that plays a video at a moment, with all of its attention below and the why beside.

import { h } from "./elements.js";
import { clock, stretch } from "./format.js";
import { Problem, ask } from "./http.js";
import { go, here, leaveMoment } from "./place.js";
import { asks, likeOf, question } from "./question.js";
import { strip } from "./strip.js";
import { why } from "./why.js";

// Browsers keep whole microseconds.
const ROUNDING = 0.01;
const EVERYTHING = { start: -Infinity, end: Infinity };

/** The player; it opens where the place names a video. */
export function player(dialog) {
  const film = dialog.querySelector("video");
  const title = dialog.querySelector("h2");
  const facts = dialog.querySelector(".facts");
  const trouble = dialog.querySelector(".trouble");
  const reasons = why(dialog.querySelector(".why"), { seek });
  const line = strip(dialog.querySelector(".strip"), { seek });
  const chips = dialog.querySelector(".chips");
  const similar = dialog.querySelector(".similar");
  let open = "";
  let explained = "";
  let moment = EVERYTHING;

  dialog.addEventListener("close", () => {
    film.pause();
    leaveMoment();
  });
  similar.addEventListener("click", () => {
    const { video, start, end } = here();
    const example = { view: "search", query: "", like: likeOf(video, start, end) };
    go({ ...example, video: "", start: "", end: "" });
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest(".close")) dialog.close();
  });
  film.addEventListener("timeupdate", () => {
    line.at(film.currentTime);
    if (film.currentTime < moment.end || film.paused) return;
    // The moment is over; who plays on wants to see what follows.
    moment = EVERYTHING;
    film.pause();
  });
  film.addEventListener("seeking", () => {
    // Who goes elsewhere by the video's own controls has left the moment.
    const [begin, end] = [moment.start - ROUNDING, moment.end + ROUNDING];
    if (film.currentTime < begin || film.currentTime > end) moment = EVERYTHING;
  });
  film.addEventListener("error", () => {
    if (!trouble.hidden) return;
    const way = h("a", { href: film.src, download: true }, "download it");
    const words = "This browser cannot play this file's format. You can still see its frames, or ";
    trouble.replaceChildren(words, way, ".");
    trouble.hidden = false;
  });

  function show(place) {
    if (!place.video) {
      if (open) hide();
      return;
    }
    if (!dialog.open) dialog.showModal();
    if (place.video !== open) load(place.video);
    // In the library a video is only watched, whatever was searched before.
    const asked = place.view === "search" && asks(place) ? question(place) : null;
    const key = JSON.stringify([place.video, asked]);
    if (key !== explained) explain(place, asked);
    else reasons.show(Number(place.start));
    explained = key;
    similar.hidden = !(Number(place.end) > Number(place.start));
    if (place.start) playMoment(Number(place.start), Number(place.end) || Infinity);
  }

  function hide() {
    [open, explained] = ["", ""];
    film.removeAttribute("src");
    film.load();
    if (dialog.open) dialog.close();
  }

  async function load(video) {
    open = video;
    trouble.hidden = true;
    [title.textContent, facts.textContent] = ["", ""];
    film.src = `/v1/videos/${encodeURIComponent(video)}/media`;
    try {
      const known = await ask(`/v1/videos/${encodeURIComponent(video)}`);
      if (open !== video) return;
      title.textContent = known.title;
      facts.textContent = [clock(known.duration), `${known.width} × ${known.height}`].join(" · ");
    } catch (error) {
      refuse(error);
    }
  }

  async function explain(place, asked) {
    const { video, start, end } = place;
    line.clear();
    reasons.hide();
    chips.replaceChildren();
    if (!asked) return;
    try {
      const path = `/v1/videos/${encodeURIComponent(video)}/attention`;
      const attention = await ask(path, { method: "POST", body: asked });
      // The reader may be elsewhere by now.
      if (open !== video) return;
      line.draw(attention);
      line.mark(Number(start), Number(end));
      reasons.draw(attention, Number(start));
      chips.replaceChildren(...attention.moments.map(chip));
    } catch (error) {
      refuse(error);
    }
  }

  function chip({ start, end, score }) {
    const there = { start: start.toFixed(2), end: end.toFixed(2) };
    const label = `Play ${stretch(start, end)}, score ${score.toFixed(3)}`;
    const text = `${clock(start)}–${clock(end)}`;
    const play = () => {
      go(there, { replace: true });
      // Here already, the place does not change: then once more.
      playMoment(start, end);
    };
    return h("button", { type: "button", class: "chip", "aria-label": label, onclick: play }, text);
  }

  function playMoment(start, end) {
    moment = { start, end };
    line.mark(start, end);
    playFrom(start);
  }

  function seek(seconds) {
    moment = EVERYTHING;
    playFrom(seconds);
  }

  function playFrom(seconds) {
    film.currentTime = seconds;
    // Without a click before it, as from a link, a browser may refuse: then the reader plays.
    film.play().catch(() => undefined);
  }

  function refuse(error) {
    if (!(error instanceof Problem)) throw error;
    trouble.replaceChildren(error.message);
    trouble.hidden = false;
  }

  return { show };
}
