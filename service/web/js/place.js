// The state of the page, kept in the URL: every state has a link, and Back works.

export const VIEWS = ["search", "library", "study", "status"];
const NOWHERE = {
  view: "search", query: "", like: "", mode: "", grid: "", group: "", title: "", duration: "",
  video: "", start: "", end: "",
};
// Names in the URL.
const NAMES = {
  view: "tab", query: "q", like: "like", mode: "mode", grid: "grid", group: "group",
  title: "title", duration: "duration", video: "video", start: "t", end: "end",
};
const MOMENT = { video: "", start: "", end: "" };

const listeners = [];

/** The place that a query string names; unknown parameters are ignored. */
export function placeOf(search) {
  const given = new URLSearchParams(search);
  const place = { ...NOWHERE };
  for (const [field, name] of Object.entries(NAMES)) place[field] = given.get(name) ?? place[field];
  if (!VIEWS.includes(place.view)) place.view = NOWHERE.view;
  return place;
}

/** The URL of a place; fields that are not given have their defaults. */
export function urlOf(given) {
  const place = { ...NOWHERE, ...given };
  const parameters = new URLSearchParams();
  for (const [field, name] of Object.entries(NAMES)) {
    if (place[field] !== NOWHERE[field]) parameters.set(name, place[field]);
  }
  const text = parameters.toString();
  return text ? `/?${text}` : "/";
}

/** The current place. */
export function here() {
  return placeOf(location.search);
}

/** The current place with changes. */
export function near(changes) {
  return { ...here(), ...changes };
}

/** Change the place; with `replace`, Back skips this step. */
export function go(changes, { replace = false } = {}) {
  const url = urlOf(near(changes));
  if (url === location.pathname + location.search) return;
  if (replace) history.replaceState(history.state, "", url);
  else history.pushState({ opened: Boolean(changes.video) }, "", url);
  notify();
}

/** Close the open moment, by going back if opening it was a step of the history. */
export function leaveMoment() {
  if (!here().video) return;
  if (history.state?.opened) history.back();
  else go(MOMENT, { replace: true });
}

/** Call a listener on every change of place. */
export function onPlace(listener) {
  listeners.push(listener);
  if (listeners.length === 1) addEventListener("popstate", notify);
}

/** Call every listener with the current place. */
export function notify() {
  const place = here();
  for (const listener of listeners) listener(place);
}

/** Handle a click on a link within the page, unless it should open another tab or window. */
export function follow(event, changes) {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.button > 0) return;
  event.preventDefault();
  go(changes);
}
