// The dialog that plays a moment, with the video's attention below and the explanation beside it.

import { h } from "./elements.js";
import { clock, stretch } from "./format.js";
import { Problem, ask } from "./http.js";
import { go, here, leaveMoment } from "./place.js";
import { hasQuery, likeOf, queryOf } from "./question.js";
import { strip } from "./strip.js";
import { why } from "./why.js";

// Browsers round times to microseconds.
const ROUNDING = 0.01;
const EVERYTHING = { start: -Infinity, end: Infinity };

/** The player; it is open while the place names a video. */
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
    // Stop once at the end of the moment; playing on shows what follows.
    moment = EVERYTHING;
    film.pause();
  });
  film.addEventListener("seeking", () => {
    // Seeking with the video's own controls leaves the moment.
    const [begin, end] = [moment.start - ROUNDING, moment.end + ROUNDING];
    if (film.currentTime < begin || film.currentTime > end) moment = EVERYTHING;
  });
  film.addEventListener("error", () => {
    if (!trouble.hidden) return;
    const link = h("a", { href: film.src, download: true }, "download it");
    const text = "This browser cannot play this file format. You can still see its frames, or ";
    trouble.replaceChildren(text, link, ".");
    trouble.hidden = false;
  });

  function show(place) {
    if (!place.video) {
      if (open) hide();
      return;
    }
    if (!dialog.open) dialog.showModal();
    if (place.video !== open) load(place.video);
    // The library only plays videos, whatever was searched before.
    const query = place.view === "search" && hasQuery(place) ? queryOf(place) : null;
    const key = JSON.stringify([place.video, query]);
    if (key !== explained) explain(place, query);
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
      const details = await ask(`/v1/videos/${encodeURIComponent(video)}`);
      if (open !== video) return;
      title.textContent = details.title;
      facts.textContent = [clock(details.duration), `${details.width} × ${details.height}`].join(" · ");
    } catch (error) {
      refuse(error);
    }
  }

  async function explain(place, query) {
    const { video, start, end } = place;
    line.clear();
    reasons.hide();
    chips.replaceChildren();
    if (!query) return;
    try {
      const path = `/v1/videos/${encodeURIComponent(video)}/attention`;
      const attention = await ask(path, { method: "POST", body: query });
      // Another video may be open by now.
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
      // A place that does not change notifies nobody, so play it here as well.
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
    // A browser may block playback before the first click, as after opening a link.
    film.play().catch(() => undefined);
  }

  function refuse(error) {
    if (!(error instanceof Problem)) throw error;
    trouble.replaceChildren(error.message);
    trouble.hidden = false;
  }

  return { show };
}
