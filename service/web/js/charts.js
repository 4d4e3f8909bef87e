// Small charts; the same numbers are next to them as text.

import { h, styled, svg } from "./elements.js";

const WIDTH = 640;
const HEIGHT = 160;

/** A bar for two quantiles, given as shares of the scale: solid up to `near`, light up to `far`. */
export function rangeBar(near, far) {
  const [inner, outer] = [near, far].map((share) => (Number.isFinite(share) ? share : 0));
  const bar = h("span", { class: "range", "aria-hidden": "true" });
  return styled(bar, { "--near": inner.toFixed(4), "--far": outer.toFixed(4) });
}

/** A bar of parts [[name, value]], coloured by their position in `names`. */
export function stack(parts, names) {
  const whole = parts.reduce((sum, [, value]) => sum + value, 0) || 1;
  const bar = h("span", { class: "stack", "aria-hidden": "true" });
  for (const [name, value] of parts) {
    const part = h("span", { class: `series-${names.indexOf(name)}`, title: name });
    bar.append(styled(part, { "--share": (value / whole).toFixed(4) }));
  }
  return bar;
}

/** The legend of a stack: names with their colours. */
export function legend(names) {
  const entry = (name, at) =>
    h("li", {}, h("span", { class: `swatch series-${at}`, "aria-hidden": "true" }), name);
  return h("ul", { class: "legend" }, ...names.map(entry));
}

/** Lines over time: series [{name, points: [[x, y]]}], y from 0 to `top`; a gap where y is not finite. */
export function lines(series, [begin, end], top, label) {
  const x = (at) => ((at - begin) / Math.max(1e-9, end - begin)) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * HEIGHT;
  const grid = [0, 0.5, 1].map((share) =>
    svg("line", { class: "rule", x1: 0, x2: WIDTH, y1: HEIGHT * share, y2: HEIGHT * share }),
  );
  const drawn = series.map(({ name, points }, at) =>
    svg("path", { class: `line series-${at} ${name}`, d: path(points, x, y) }),
  );
  const view = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };
  return svg("svg", { class: "lines", role: "img", "aria-label": label, ...view }, ...grid, ...drawn);
}

function path(points, x, y) {
  let pen = "M";
  const steps = [];
  for (const [at, value] of points) {
    if (Number.isFinite(value)) {
      steps.push(`${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`);
      pen = "L";
    } else pen = "M";
  }
  return steps.join(" ");
}
