// A query's attention over the frames of a video, as the service returns it.

/** The numbers of the frames in one super image; the last one may hold fewer. */
export function framesOf(attention, number) {
  const begin = number * cellsOf(attention);
  const count = Math.min(cellsOf(attention), attention.starts.length - begin);
  return Array.from({ length: count }, (_, at) => begin + at);
}

/** The super image with the strongest frame of the moment that begins at `start`. */
export function superImageAt(attention, start) {
  const moment = attention.moments.find((item) => Math.abs(item.start - start) < 0.01);
  return moment?.super_image ?? Math.floor(frameAt(attention, start) / cellsOf(attention));
}

/** The number of the frame on screen at a time. */
export function frameAt({ starts }, seconds) {
  const after = starts.findIndex((start) => start > seconds);
  return after < 0 ? starts.length - 1 : Math.max(0, after - 1);
}

/** The strongest attention of any frame. */
export function strongest({ weights }) {
  return weights.reduce((most, weight) => Math.max(most, weight), 0);
}

/** The strongest attention in each of up to `most` equal parts, as a share of the strongest frame. */
export function heights(attention, most) {
  const { starts, ends, weights } = attention;
  const parts = new Array(Math.min(most, starts.length)).fill(0);
  const top = strongest(attention);
  starts.forEach((start, frame) => {
    const at = Math.min(parts.length - 1, Math.floor((start / ends.at(-1)) * parts.length));
    parts[at] = Math.max(parts[at], weights[frame] / top);
  });
  return parts;
}

function cellsOf({ grid_size: size }) {
  return size * size;
}
