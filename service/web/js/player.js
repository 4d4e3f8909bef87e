// The dialog that plays a video at a moment, with all of its attention below and the why beside.

import { h } from "./elements.js";
import { clock, stretch } from "./format.js";
import { Problem, ask } from "./http.js";
import { go, leaveMoment } from "./place.js";
import { strip } from "./strip.js";
import { why } from "./why.js";

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
  let open = "";
  let explained = "";
  let moment = EVERYTHING;

  dialog.addEventListener("close", () => {
    film.pause();
    leaveMoment();
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
    if (film.currentTime < moment.start || film.currentTime > moment.end) moment = EVERYTHING;
  });
  film.addEventListener("error", () => {
    const way = h("a", { href: film.src, download: true }, "download it");
    const words = "This browser cannot play this file's format. You can still see its frames, or ";
    trouble.replaceChildren(words, way, ".");
    trouble.hidden = false;
  });

  function show(place) {
    if (!place.video) return hide();
    if (!dialog.open) dialog.showModal();
    if (place.video !== open) load(place.video);
    const asked = [place.video, place.query, place.grid].join("\n");
    if (asked !== explained) explain(place);
    else reasons.show(Number(place.start));
    explained = asked;
    if (place.start) playMoment(Number(place.start), Number(place.end) || Infinity);
    return undefined;
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

  async function explain(place) {
    const { video, query, grid, start, end } = place;
    line.clear();
    reasons.hide();
    chips.replaceChildren();
    // The service cannot tell attention yet.
    if (!query || !Number(start)) return;
    return;
    const said = new URLSearchParams({ query, ...(grid && { grid_size: grid }) });
    try {
      const attention = await ask(`/v1/videos/${encodeURIComponent(video)}/attention?${said}`);
      if (open !== video) return;
      line.draw(attention);
      line.mark(Number(start), Number(end));
      reasons.draw(video, attention, Number(start));
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
