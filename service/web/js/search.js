// The search tab: what is typed becomes the URL, the URL a search, its answer moment cards.

import { moments, moveFocus } from "./cards.js";
import { announce, h } from "./elements.js";
import { counted, latency, length } from "./format.js";
import { Problem, ask, patiently } from "./http.js";
import { go, here } from "./place.js";
import { firstSteps, nothingFound, searchHint } from "./empty.js";
import { offerChoices } from "./served.js";

const PAUSE_MS = 180;
const PAGE = 12;
const LAST_OFFSET = 1000;

/** The search tab; `library` tells how many videos there are, `addVideos` opens the chooser. */
export function searchTab(root, { library, addVideos }) {
  const form = root.querySelector("form");
  const input = form.elements.query;
  const list = root.querySelector(".moments");
  const summary = root.querySelector(".summary");
  const notice = root.querySelector(".notice");
  const more = root.querySelector(".more");
  let shown = null;
  let running = new AbortController();
  let pause = 0;

  input.addEventListener("input", (event) => {
    clearTimeout(pause);
    if (!event.isComposing) pause = setTimeout(settle, PAUSE_MS);
  });
  input.addEventListener("compositionend", settle);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    settle();
  });
  form.addEventListener("change", (event) => {
    if (event.target !== input) go({ [event.target.name]: event.target.value }, { replace: true });
  });
  root.addEventListener("keydown", (event) => moveFocus(event, input, list));
  more.addEventListener("click", () => search(here(), list.children.length));
  offerChoices(form).then(() => choose(here()));

  function settle() {
    clearTimeout(pause);
    go({ query: input.value.trim() }, { replace: true });
  }

  function show(place) {
    if (input.value.trim() !== place.query) input.value = place.query;
    choose(place);
    const wanted = JSON.stringify(bodyOf(place, 0));
    if (wanted !== shown) search(place, 0);
  }

  function choose(place) {
    for (const name of ["mode", "grid", "group"]) {
      const control = form.elements[name];
      control.value = place[name];
      // What the URL asks for may not be served: then the choice is the service's.
      if (control.selectedIndex < 0) control.value = "";
    }
  }

  async function search(place, offset) {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    shown = JSON.stringify(bodyOf(place, 0));
    if (!place.query) return rest();
    root.setAttribute("aria-busy", "true");
    try {
      const asked = () =>
        ask("/v1/search", { method: "POST", body: bodyOf(place, offset), signal });
      const answer = await patiently(asked, { onWait: later, signal });
      if (signal.aborted) return undefined;
      if (offset > 0 && answer.generation !== list.dataset.generation) return search(place, 0);
      draw(place, answer, offset);
    } catch (error) {
      if (error.name !== "AbortError") refuse(error);
    } finally {
      if (!signal.aborted) root.removeAttribute("aria-busy");
    }
    return undefined;
  }

  function draw(place, answer, offset) {
    const { results, searched } = answer;
    list.dataset.generation = answer.generation;
    if (offset === 0) {
      list.dataset.best = results[0]?.score ?? 1;
      list.replaceChildren();
    }
    list.append(...moments(answer, place, Number(list.dataset.best)));
    const first = list.children.length === 0;
    notice.replaceChildren(...(first ? [nothingFound(searched.videos, addVideos)] : []));
    more.hidden = results.length < PAGE || offset + PAGE > LAST_OFFSET;
    const through = `${counted(searched.videos, "video")}, ${length(searched.seconds)}`;
    const took = latency(answer.timings_ms.total / 1000);
    summary.textContent = first ? "" : `Best of ${through} · ${took}`;
    announce(`${counted(list.children.length, "result")} for ${place.query}`);
  }

  async function rest() {
    root.removeAttribute("aria-busy");
    list.replaceChildren();
    more.hidden = true;
    summary.textContent = "";
    const videos = await library.total();
    if (here().query) return;
    notice.replaceChildren(videos === 0 ? firstSteps(addVideos) : searchHint(videos));
  }

  function later(seconds, problem) {
    say("busy", `${problem.message} Trying again in ${counted(Math.ceil(seconds), "second")}.`);
  }

  function refuse(error) {
    if (!(error instanceof Problem)) throw error;
    say("problem", error.message, h("button", { type: "button", onclick: again }, "Try again"));
    list.replaceChildren();
    more.hidden = true;
    summary.textContent = "";
  }

  function say(kind, text, ...rest) {
    notice.replaceChildren(h("p", { class: `said ${kind}`, role: "status" }, text, ...rest));
  }

  function again() {
    notice.replaceChildren();
    search(here(), 0);
  }

  function refresh() {
    // Who has asked for more than the first page is reading, and is left alone.
    if (!root.hidden && list.children.length <= PAGE) search(here(), 0);
  }

  return { show, refresh, focus: () => input.select() };
}

function bodyOf(place, offset) {
  const body = { query: place.query, top_k: PAGE, offset, group_by: place.group || "video" };
  if (place.mode) body.mode = place.mode;
  if (place.grid) body.grid_size = Number(place.grid);
  return body;
}
