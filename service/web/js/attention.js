// A query's attention over the frames of a video, as the service tells it.

/** The frames in one super image: all of it, or what is left in the last. */
export function framesOf(found, number) {
  const begin = number * cellsOf(found);
  const count = Math.min(cellsOf(found), found.starts.length - begin);
  return Array.from({ length: count }, (_, at) => begin + at);
}

/** The super image of the moment that begins at `start`: that of its strongest frame. */
export function superImageAt(found, start) {
  const moment = found.moments.find((one) => Math.abs(one.start - start) < 0.01);
  return moment?.super_image ?? Math.floor(frameAt(found, start) / cellsOf(found));
}

/** The number of the frame on screen at a time. */
export function frameAt({ starts }, seconds) {
  const after = starts.findIndex((start) => start > seconds);
  return after < 0 ? starts.length - 1 : Math.max(0, after - 1);
}

/** The strongest attention of all. */
export function strongest({ weights }) {
  return weights.reduce((most, weight) => Math.max(most, weight), 0);
}

/** The strongest attention in each of up to `most` equal parts, as a share of the strongest of all. */
export function heights(found, most) {
  const { starts, ends, weights } = found;
  const parts = new Array(Math.min(most, starts.length)).fill(0);
  const top = strongest(found);
  starts.forEach((start, frame) => {
    const at = Math.min(parts.length - 1, Math.floor((start / ends.at(-1)) * parts.length));
    parts[at] = Math.max(parts[at], weights[frame] / top);
  });
  return parts;
}

function cellsOf({ grid_size: size }) {
  return size * size;
}
