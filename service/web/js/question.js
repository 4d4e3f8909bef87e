// What the place asks the service: words, an example, conditions.

// Lengths of videos to choose by, in seconds.
const DURATIONS = {
  short: { lt: 60 },
  medium: { gte: 60, lt: 600 },
  long: { gte: 600 },
};

/** Whether the place asks anything. */
export function asks(place) {
  return Boolean(place.query || place.like);
}

/** What is looked for, for a search and for attention alike. */
export function question({ query, like, grid }) {
  const asked = {};
  if (query) asked.query = query;
  if (like) asked.example = exampleOf(like);
  if (grid) asked.grid_size = Number(grid);
  return asked;
}

/** One page of a search. */
export function searchBody(place, offset, count) {
  const body = { ...question(place), top_k: count, offset, group_by: place.group || "video" };
  if (place.mode) body.mode = place.mode;
  const filter = conditions(place);
  if (Object.keys(filter).length > 0) body.filter = filter;
  return body;
}

/** An example as the URL says it. */
export function likeOf(video, start, end) {
  return [video, Number(start).toFixed(2), Number(end).toFixed(2)].join(":");
}

/** The stretch of a video that such a text names. */
export function exampleOf(like) {
  const [video_id, start, end] = like.split(":");
  return { video_id, start: Number(start), end: Number(end) };
}

function conditions({ title, duration }) {
  const filter = {};
  if (title) filter.title = { contains: title };
  if (duration in DURATIONS) filter.duration = DURATIONS[duration];
  return filter;
}
