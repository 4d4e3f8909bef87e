// What an empty tab says: always what to do next.

import { h, icon } from "./elements.js";
import { counted } from "./format.js";

/** Nothing is there yet. */
export function firstSteps(addVideos) {
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, "Search what your videos show"),
    h(
      "ol",
      { class: "steps" },
      h("li", {}, "Drop video files anywhere on this page, or choose them."),
      h("li", {}, "Each becomes searchable when its bar is full: minutes of video take seconds."),
      h("li", {}, "Describe a moment in your words, and play it from the result."),
    ),
    h("button", { type: "button", class: "primary", onclick: addVideos }, icon("add"), "Add videos"),
  );
}

/** There are videos, and no query yet. */
export function searchHint(videos) {
  return h(
    "div",
    { class: "empty quiet" },
    h("p", {}, `Describe a moment, and see where it is in ${counted(videos, "video")}.`),
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

/** A search without results: by its conditions, or because nothing is there to search. */
export function nothingFound(narrowed, addVideos) {
  if (narrowed) return h("p", { class: "said" }, "No video has such a title and length.");
  return h(
    "div",
    { class: "said" },
    h("p", {}, "No video is searchable yet. Those being indexed will be found as they get ready."),
    h("button", { type: "button", onclick: addVideos }, "Add videos"),
  );
}

/** A deployment without the study's plots. */
export function noPlots() {
  return h(
    "p",
    { class: "said" },
    "The plots of the study were left out of this deployment. In a checkout, ",
    h("code", {}, "make study"),
    " draws them into ",
    h("code", {}, "results/"),
    ".",
  );
}
