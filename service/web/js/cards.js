// Results as cards: picture, time, score and video of each moment.

import { h, icon, styled } from "./elements.js";
import { clock, stretch } from "./format.js";
import { follow, urlOf } from "./place.js";

/** Cards for the results of an answer; the bar shows a score as a share of the `best` one. */
export function moments({ results }, place, best) {
  return results.map((result) => card(result, place, best));
}

/** Move the focus between the search field and the cards by arrow keys; Enter opens a link. */
export function moveFocus(event, input, list) {
  const links = [...list.querySelectorAll(".open")];
  const at = links.indexOf(document.activeElement);
  if (links.length === 0 || (at < 0 && document.activeElement !== input)) return;
  const next = target(event.key, at, links);
  if (next === null) return;
  event.preventDefault();
  (links[next] ?? input).focus();
}

function target(key, at, links) {
  if (at < 0) return key === "ArrowDown" ? 0 : null;
  const last = links.length - 1;
  const row = columns(links);
  const moved = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + row, ArrowUp: at - row };
  if (key === "Home") return 0;
  if (key === "End") return last;
  // The search field is above the first row.
  if (!(key in moved)) return null;
  return moved[key] < 0 && key === "ArrowUp" ? -1 : Math.min(Math.max(moved[key], 0), last);
}

function columns(links) {
  const tops = links.map((link) => link.getBoundingClientRect().top);
  const wrapped = tops.findIndex((top) => top > tops[0] + 1);
  return wrapped < 0 ? links.length : wrapped;
}

function card(result, place, best) {
  const [moment, ...others] = result.moments;
  const { video, rank, score } = result;
  const title = h("span", { class: "title", title: video.title }, video.title);
  if (!moment) return h("li", { class: "card" }, title);
  const label = `${video.title}, ${stretch(moment.start, moment.end)}, score ${score.toFixed(3)}`;
  return h(
    "li",
    { class: "card" },
    h(
      "a",
      { class: "open", "aria-label": `Play ${label}`, ...linkTo(video, moment, place) },
      h(
        "span",
        { class: "frame" },
        h("img", { src: moment.thumbnail_url, alt: "", loading: "lazy" }),
        icon("play"),
        h("span", { class: "time" }, `${clock(moment.start)}–${clock(moment.end)}`),
        h("span", { class: "rank" }, rank),
      ),
      title,
      scoreBar(result, best),
    ),
    others.length === 0 ? null : alsoAt(video, others, place),
  );
}

function scoreBar({ score, score_z: z }, best) {
  const share = best > 0 ? Math.min(1, Math.max(0, score / best)) : 0;
  const bar = styled(h("span", { class: "bar" }), { "--share": share.toFixed(3) });
  const title = `Score ${score.toFixed(3)}; recall score ${z.toFixed(1)} standard deviations above the mean`;
  return h("span", { class: "score", title }, bar, h("span", {}, score.toFixed(3)));
}

function alsoAt(video, others, place) {
  const links = others.map((moment) => {
    const label = `Play ${video.title}, ${stretch(moment.start, moment.end)}`;
    const link = linkTo(video, moment, place);
    return h("a", { class: "chip", "aria-label": label, ...link }, clock(moment.start));
  });
  return h("p", { class: "also" }, "also at ", ...links);
}

function linkTo(video, { start, end }, place) {
  const moment = { video: video.id, start: start.toFixed(2), end: end.toFixed(2) };
  const href = urlOf({ ...place, ...moment });
  return { href, onclick: (event) => follow(event, moment) };
}
