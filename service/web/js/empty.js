// The texts of empty tabs; each says what to do next.

import { h, icon } from "./elements.js";
import { counted } from "./format.js";

/** For an empty library. */
export function firstSteps(addVideos) {
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "Search what your videos show"),
    h(
      "ol",
      { class: "steps" },
      h("li", {}, "Drop video files anywhere on this page, or choose them."),
      h("li", {}, "A video is searchable when its progress bar is full. Minutes of video take seconds."),
      h("li", {}, "Describe a moment in your own words, and play it from the results."),
    ),
    h("button", { type: "button", class: "primary", onclick: addVideos }, icon("add"), "Add videos"),
  );
}

/** For a library with videos, before the first query. */
export function searchHint(videos) {
  return h(
    "div",
    { class: "empty quiet" },
    h("p", {}, `Describe a moment to find it in ${counted(videos, "video")}.`),
    h(
      "p",
      { class: "keys" },
      h("kbd", {}, "/"), " search  ",
      h("kbd", {}, "↑ ↓ ← →"), " choose  ",
      h("kbd", {}, "Enter"), " play  ",
      h("kbd", {}, "Esc"), " close",
    ),
  );
}

/** For a search without results: nothing passes its conditions, or nothing is searchable yet. */
export function nothingFound(narrowed, addVideos) {
  if (narrowed) return h("p", { class: "message" }, "No video matches this title and length.");
  return h(
    "div",
    { class: "message" },
    h("p", {}, "No video is searchable yet. Videos appear here as soon as they are indexed."),
    h("button", { type: "button", onclick: addVideos }, "Add videos"),
  );
}

/** For a deployment without the plots of the study. */
export function noPlots() {
  return h(
    "p",
    { class: "message" },
    "This deployment does not include the plots of the study. In a checkout, ",
    h("code", {}, "make study"),
    " writes them to ",
    h("code", {}, "results/"),
    ".",
  );
}
