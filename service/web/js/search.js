// The search tab: input changes the URL, the URL starts a search, the answer becomes cards.

import { moments, moveFocus } from "./cards.js";
import { announce, h, icon } from "./elements.js";
import { counted, latency, length, stretch } from "./format.js";
import { Problem, ask, patiently, tolerate } from "./http.js";
import { go, here } from "./place.js";
import { firstSteps, nothingFound, searchHint } from "./empty.js";
import { exampleOf, hasQuery, searchBody } from "./question.js";
import { offerChoices } from "./served.js";

const PAUSE_MS = 180;
const PAGE = 12;
const LAST_OFFSET = 1000;
// How often, and after what delay, a provisional order is requested again.
const REFINEMENTS = 5;
const REFINE_MS = 2000;

/** The search tab; `library` knows the number of videos, `addVideos` opens the file chooser. */
export function searchTab(root, { library, addVideos }) {
  const form = root.querySelector("form");
  const input = form.elements.query;
  const like = root.querySelector(".like");
  const list = root.querySelector(".moments");
  const summary = root.querySelector(".summary");
  const notice = root.querySelector(".notice");
  const more = root.querySelector(".more");
  let shown = null;
  let running = new AbortController();
  let pause = 0;
  let refinements = 0;

  form.addEventListener("input", (event) => {
    clearTimeout(pause);
    // Do not search while an input method composes a character.
    if (!event.isComposing) pause = setTimeout(settle, PAUSE_MS);
  });
  form.addEventListener("compositionend", settle);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    settle();
  });
  form.addEventListener("change", (event) => {
    const { name, value, type } = event.target;
    if (type === "select-one") go({ [name]: value }, { replace: true });
  });
  root.addEventListener("keydown", (event) => moveFocus(event, input, list));
  more.addEventListener("click", () => search(here(), list.children.length));
  offerChoices(form).then(() => choose(here())).catch(tolerate);

  function settle() {
    clearTimeout(pause);
    const [query, title] = [input.value.trim(), form.elements.title.value.trim()];
    go({ query, title }, { replace: true });
  }

  function show(place) {
    for (const name of ["query", "title"]) {
      const control = form.elements[name];
      // Keep a trailing space while the user types.
      if (control.value.trim() !== place[name]) control.value = place[name];
    }
    choose(place);
    if (keyOf(place) === shown) return;
    refinements = 0;
    search(place, 0);
  }

  function choose(place) {
    for (const name of ["mode", "grid", "group", "duration"]) {
      const control = form.elements[name];
      control.value = place[name];
      // The URL may name a choice that is not served: use the service's default.
      if (control.selectedIndex < 0) control.value = "";
    }
  }

  async function search(place, offset) {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    shown = keyOf(place);
    showExample(place);
    if (!hasQuery(place)) return clear().catch(refuse);
    root.setAttribute("aria-busy", "true");
    try {
      const body = searchBody(place, offset, PAGE);
      const request = () => ask("/v1/search", { method: "POST", body, signal });
      const answer = await patiently(request, { onWait: later, signal });
      if (signal.aborted) return undefined;
      if (offset > 0 && answer.snapshot !== list.dataset.snapshot) return search(place, 0);
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
    list.dataset.snapshot = answer.snapshot;
    if (offset === 0) {
      list.dataset.best = results[0]?.score ?? 1;
      list.replaceChildren();
    }
    list.append(...moments(answer, place, Number(list.dataset.best)));
    const first = list.children.length === 0;
    notice.replaceChildren(...(first ? [nothingFound(place.title || place.duration, addVideos)] : []));
    more.hidden = results.length < PAGE || offset + PAGE > LAST_OFFSET;
    const through = `${counted(searched.video_count, "video")}, ${length(searched.seconds)}`;
    const took = latency(answer.timings_ms.total / 1000);
    summary.textContent = first ? "" : `Best of ${through} · ${took}`;
    if (answer.provisional && offset === 0) refine();
    announce(`${counted(list.children.length, "result")} for ${place.query || "the example"}`);
  }

  /** Search again later: reranker embeddings are still being built. */
  function refine() {
    if (refinements === REFINEMENTS) return;
    refinements += 1;
    summary.textContent += " · still refining";
    const key = shown;
    setTimeout(() => shown === key && list.children.length <= PAGE && search(here(), 0), REFINE_MS);
  }

  /** Show the moment that is the example, and a button that removes it. */
  function showExample(place) {
    like.hidden = !place.like;
    if (!place.like) return;
    const { video_id: id, start, end } = exampleOf(place.like);
    const label = "Search without this example";
    const remove = h("button", { type: "button", class: "icon-button", "aria-label": label });
    remove.append(icon("close"));
    remove.addEventListener("click", () => go({ like: "" }, { replace: true }));
    const picture = `/v1/videos/${encodeURIComponent(id)}/thumbnail?t=${(start + end) / 2}`;
    like.replaceChildren(
      h("img", { src: picture, alt: "" }),
      h("span", {}, "More like this moment, ", stretch(start, end)),
      remove,
    );
  }

  async function clear() {
    root.removeAttribute("aria-busy");
    list.replaceChildren();
    more.hidden = true;
    summary.textContent = "";
    const videos = await library.total();
    if (hasQuery(here())) return;
    notice.replaceChildren(videos === 0 ? firstSteps(addVideos) : searchHint(videos));
  }

  function later(seconds, problem) {
    notify("busy", `${problem.message} Trying again in ${counted(Math.ceil(seconds), "second")}.`);
  }

  function refuse(error) {
    if (!(error instanceof Problem)) throw error;
    notify("problem", error.message, h("button", { type: "button", onclick: again }, "Try again"));
    list.replaceChildren();
    more.hidden = true;
    summary.textContent = "";
  }

  function notify(kind, text, ...children) {
    notice.replaceChildren(h("p", { class: `message ${kind}`, role: "status" }, text, ...children));
  }

  function again() {
    notice.replaceChildren();
    search(here(), 0);
  }

  function refresh() {
    // Do not disturb a reader who has opened more than the first page.
    if (!root.hidden && list.children.length <= PAGE) search(here(), 0);
  }

  return { show, refresh, focus: () => input.select() };
}

function keyOf(place) {
  return JSON.stringify([hasQuery(place), searchBody(place, 0, PAGE)]);
}
