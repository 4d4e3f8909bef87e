// A line as long as the video: how much attention each part of it got, and where we are.

import { heights } from "./attention.js";
import { styled, svg } from "./elements.js";

const BARS = 160;
const HEIGHT = 100;

/** The line below the video; a click on it seeks. For the eye: the video's controls do the same. */
export function strip(root, { seek }) {
  let duration = 0;
  root.addEventListener("click", (event) => {
    const { left, width } = root.getBoundingClientRect();
    if (duration) seek(((event.clientX - left) / width) * duration);
  });

  function draw(found) {
    duration = found.ends.at(-1);
    const bars = heights(found, BARS);
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

  /** Mark a stretch of the video. */
  function mark(start, end) {
    const share = (seconds) => (duration ? Math.min(1, seconds / duration) : 0);
    const until = Number.isFinite(end) ? end : start;
    styled(root, { "--start": share(start).toFixed(4), "--end": share(until).toFixed(4) });
  }

  /** Show where the video is. */
  function at(seconds) {
    styled(root, { "--now": (duration ? seconds / duration : 0).toFixed(4) });
  }

  function clear() {
    duration = 0;
    root.hidden = true;
  }

  return { draw, mark, at, clear };
}
