// The status tab: /metrics over a moving window, without Grafana.

import { legend, lines, rangeBar, stack } from "./charts.js";
import { h } from "./elements.js";
import { grid, latency, length, percent } from "./format.js";
import { Problem, ask, askText } from "./http.js";
import * as readings from "./readings.js";
import { Timeline } from "./timeline.js";

const POLL_MS = 2000;
// The interval that one point of the lines covers.
const SPAN_SECONDS = 30;
const SEARCH_STAGES = ["queue", "tokenise", "encode", "recall", "score", "hydrate"];
const INGEST_STAGES = ["probe", "decode", "tile", "encode", "commit"];
const STATES = ["queued", "running", "ready", "failed", "cancelled"];

/** The status tab; it polls only while it is visible. */
export function statusTab(root) {
  const part = (name) => root.querySelector(`[data-part=${name}]`);
  const period = root.querySelector("select");
  const notice = root.querySelector(".notice");
  const caption = root.querySelector(".caption");
  const timeline = new Timeline();
  let model = null;
  let timer = 0;
  let visible = false;
  period.addEventListener("change", () => timeline.newest && draw());
  document.addEventListener("visibilitychange", () => poll());

  async function poll() {
    clearTimeout(timer);
    if (!visible || document.hidden) return;
    try {
      model ??= await activeModel();
      const pages = await Promise.all([askText("/metrics"), worker()]);
      timeline.add(readings.reading(performance.now() / 1000, ...pages));
      notice.replaceChildren();
      draw();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      notice.replaceChildren(h("p", { class: "message problem", role: "status" }, error.message));
    }
    clearTimeout(timer);
    if (visible) timer = setTimeout(poll, POLL_MS);
  }

  async function worker() {
    try {
      return await askText("/metrics/worker");
    } catch (error) {
      // Without a worker, the rest of the tab still works.
      if (error instanceof Problem) return null;
      throw error;
    }
  }

  function draw() {
    const later = timeline.newest;
    const earlier = begin(later);
    caption.textContent = describe(later, earlier);
    part("latency").replaceChildren(...latencyParts(later, earlier));
    part("search-stages").replaceChildren(...stageParts("searchStages", SEARCH_STAGES, later, earlier));
    part("ingest-stages").replaceChildren(...ingestParts(later));
    part("jobs").replaceChildren(...STATES.map((state) => tile(later.jobs.get(state) ?? 0, state)));
    part("index").replaceChildren(...indexTiles(later, model));
    part("answers").replaceChildren(...answerParts(later, earlier));
  }

  /** The first reading of the window; undefined if it holds no search. */
  function begin(later) {
    const seconds = Number(period.value);
    if (!seconds) return undefined;
    const earlier = timeline.begin(seconds);
    return readings.latencies(later, earlier).some(({ count }) => count > 0) ? earlier : undefined;
  }

  function describe(later, earlier) {
    if (earlier) return `Searches of the last ${length(later.seconds - earlier.seconds)}.`;
    const prefix = Number(period.value) ? "No search in this window yet: all " : "All ";
    return `${prefix}searches since the service started.`;
  }

  function latencyParts(later, earlier) {
    const rows = readings.latencies(later, earlier).filter(({ count }) => count > 0);
    if (rows.length === 0) return [h("p", { class: "quiet" }, "No search yet. Results appear here after the first one.")];
    const top = Math.max(...rows.map(({ p95 }) => p95));
    const body = rows.map(({ grid: size, p50, p95, count }) =>
      h(
        "tr",
        { "data-grid": size },
        h("th", { scope: "row" }, grid(size)),
        h("td", { class: "wide" }, rangeBar(p50 / top, p95 / top)),
        h("td", { "data-value": "p50" }, latency(p50)),
        h("td", { "data-value": "p95" }, latency(p95)),
        h("td", { "data-value": "count" }, count),
        h("td", { "data-value": "recall" }, recall(later, size)),
      ),
    );
    return [table(["Grid", "p50 to p95", "p50", "p95", "searches", "R@5"], body), ...trend()];
  }

  /** R@5 of the served variant at a grid size, from the last evaluation. */
  function recall(later, size) {
    const share = later.recalls.get(`${model?.variant} 5 ${size}`);
    return share === undefined ? "–" : percent(share);
  }

  function trend() {
    const points = timeline.latencies(Number(period.value) || Infinity, SPAN_SECONDS);
    if (points.length < 2) return [];
    const sizes = [...new Set(points.flatMap(({ grids }) => grids.map((item) => item.grid)))];
    const series = sizes.map((size) => ({
      name: grid(size),
      points: points.map(({ seconds: at, grids }) => [at, grids.find((g) => g.grid === size)?.p95]),
    }));
    const values = series.flatMap((item) => item.points.map(([, y]) => y)).filter(Number.isFinite);
    if (values.length < 2) return [];
    const top = Math.max(...values);
    const span = [points[0].seconds, points.at(-1).seconds];
    const label = `p95 of ${SPAN_SECONDS} seconds over time, at most ${latency(top)}`;
    return [
      h("p", { class: "axis" }, h("span", {}, `p95 of the last ${SPAN_SECONDS} s`), latency(top)),
      lines(series, span, top, label),
      legend(sizes.map(grid)),
    ];
  }

  return {
    show() {
      if (visible) return;
      visible = true;
      poll();
    },
    hide() {
      visible = false;
      clearTimeout(timer);
    },
  };
}

async function activeModel() {
  const { models } = await ask("/v1/models");
  return models.find(({ state }) => state === "active") ?? null;
}

function stageParts(kind, names, later, earlier) {
  const rows = readings.stageMeans(kind, later, earlier);
  if (rows.length === 0) return [h("p", { class: "quiet" }, "Nothing yet in this window.")];
  const body = rows.map(({ grid: size, stages }) => {
    const ordered = names.flatMap((name) => stages.filter(([stage]) => stage === name));
    const whole = ordered.reduce((sum, [, seconds]) => sum + seconds, 0);
    const text = ordered.map(([name, seconds]) => `${name} ${percent(seconds / whole)}`).join(", ");
    return h(
      "tr",
      { "data-grid": size },
      h("th", { scope: "row" }, grid(size)),
      h("td", { class: "wide" }, stack(ordered, names), h("span", { class: "spoken" }, text)),
      h("td", {}, latency(whole)),
    );
  });
  return [table(["Grid", "share of each stage", "sum of means"], body), legend(names)];
}

function ingestParts(later) {
  if (!later.workerAnswers) return [h("p", { class: "quiet" }, "The worker does not answer.")];
  // Ingest jobs are few and long, so a window of minutes would mostly be empty.
  const parts = stageParts("ingestStages", INGEST_STAGES, later, undefined);
  const speeds = readings
    .realTimeFactors(later, undefined)
    .map(({ grid: size, factor }) => `${grid(size)}: ${Math.round(factor)} × real time`);
  return [...parts, h("p", { class: "quiet" }, speeds.join(" · "))];
}

function indexTiles(later, model) {
  const sizes = [...later.superImages].map(([size, count]) => tile(count, `super images ${grid(size)}`));
  const served = model ? `${model.name}, ${model.variant}, version ${model.version}` : "no model yet";
  return [tile(later.videos, "videos"), ...sizes, h("p", { class: "quiet whole" }, served)];
}

function answerParts(later, earlier) {
  const items = readings.answers(later, earlier).map(([code, count]) => tile(count, code.replaceAll("_", " ")));
  return items.length ? items : [h("p", { class: "quiet" }, "No request in this window.")];
}

function tile(number, name) {
  return h("div", { class: "tile", "data-name": name }, h("strong", {}, number), h("span", {}, name));
}

function table(headings, body) {
  const head = headings.map((text, at) => h("th", { scope: "col", class: at === 1 ? "wide" : null }, text));
  return h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body));
}
