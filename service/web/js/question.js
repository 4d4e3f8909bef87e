// Request bodies of the service for a place: words, an example, conditions.

// Filters on the length of videos, in seconds.
const DURATIONS = {
  short: { lt: 60 },
  medium: { gte: 60, lt: 600 },
  long: { gte: 600 },
};

/** Whether the place holds a query. */
export function hasQuery(place) {
  return Boolean(place.query || place.like);
}

/** The part of a request that a search and an attention request share. */
export function queryOf({ query, like, grid }) {
  const body = {};
  if (query) body.query = query;
  if (like) body.example = exampleOf(like);
  if (grid) body.grid_size = Number(grid);
  return body;
}

/** The request for one page of a search. */
export function searchBody(place, offset, count) {
  const body = { ...queryOf(place), top_k: count, offset, group_by: place.group || "video" };
  if (place.mode) body.mode = place.mode;
  const filter = conditions(place);
  if (Object.keys(filter).length > 0) body.filter = filter;
  return body;
}

/** An example as text for the URL. */
export function likeOf(video, start, end) {
  return [video, Number(start).toFixed(2), Number(end).toFixed(2)].join(":");
}

/** The segment of a video that such a text names. */
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
