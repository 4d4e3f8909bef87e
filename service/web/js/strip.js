// A timeline of the video: the attention of each part, and the current position.

import { heights } from "./attention.js";
import { styled, svg } from "./elements.js";

const BARS = 160;
const HEIGHT = 100;

/** The timeline below the video; a click seeks. Hidden from screen readers, which have the controls. */
export function strip(root, { seek }) {
  let duration = 0;
  root.addEventListener("click", (event) => {
    const { left, width } = root.getBoundingClientRect();
    if (duration) seek(((event.clientX - left) / width) * duration);
  });

  function draw(attention) {
    duration = attention.ends.at(-1);
    const bars = heights(attention, BARS);
    const width = 1000 / bars.length;
    const shapes = bars.map((height, at) =>
      svg("rect", {
        x: (at * width).toFixed(2),
        y: (HEIGHT * (1 - height)).toFixed(2),
        width: Math.max(1, width - 1.5).toFixed(2),
        height: (HEIGHT * height).toFixed(2),
      }),
    );
    const view = { viewBox: `0 0 1000 ${HEIGHT}`, preserveAspectRatio: "none" };
    root.querySelector("svg")?.remove();
    root.prepend(svg("svg", view, ...shapes));
    root.hidden = false;
  }

  /** Mark an interval of the video. */
  function mark(start, end) {
    const share = (seconds) => (duration ? Math.min(1, seconds / duration) : 0);
    const until = Number.isFinite(end) ? end : start;
    styled(root, { "--start": share(start).toFixed(4), "--end": share(until).toFixed(4) });
  }

  /** Show the current position. */
  function at(seconds) {
    styled(root, { "--now": (duration ? seconds / duration : 0).toFixed(4) });
  }

  function clear() {
    duration = 0;
    root.hidden = true;
  }

  return { draw, mark, at, clear };
}
