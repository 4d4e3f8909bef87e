// Where the reader is, as the URL says it: so every state has a link, and Back goes back.

export const VIEWS = ["search", "library", "study", "status"];
const NOWHERE = {
  view: "search", query: "", like: "", mode: "", grid: "", group: "", title: "", duration: "",
  video: "", start: "", end: "",
};
// What the URL calls it.
const NAMES = {
  view: "tab", query: "q", like: "like", mode: "mode", grid: "grid", group: "group",
  title: "title", duration: "duration", video: "video", start: "t", end: "end",
};
const MOMENT = { video: "", start: "", end: "" };

const listeners = [];

/** The place that a URL's query string names; what it does not know it leaves out. */
export function placeOf(search) {
  const given = new URLSearchParams(search);
  const place = { ...NOWHERE };
  for (const [field, name] of Object.entries(NAMES)) place[field] = given.get(name) ?? place[field];
  if (!VIEWS.includes(place.view)) place.view = NOWHERE.view;
  return place;
}

/** The URL of a place, of which only what is special needs to be given. */
export function urlOf(given) {
  const place = { ...NOWHERE, ...given };
  const said = new URLSearchParams();
  for (const [field, name] of Object.entries(NAMES)) {
    if (place[field] !== NOWHERE[field]) said.set(name, place[field]);
  }
  const text = said.toString();
  return text ? `/?${text}` : "/";
}

/** Where the reader is now. */
export function here() {
  return placeOf(location.search);
}

/** Here, with some of it changed. */
export function near(changes) {
  return { ...here(), ...changes };
}

/** Go somewhere; `replace`: without a step for Back. */
export function go(changes, { replace = false } = {}) {
  const url = urlOf(near(changes));
  if (url === location.pathname + location.search) return;
  if (replace) history.replaceState(history.state, "", url);
  else history.pushState({ opened: Boolean(changes.video) }, "", url);
  tell();
}

/** Leave the moment that is open, by the step that led to it where there was one. */
export function leaveMoment() {
  if (!here().video) return;
  if (history.state?.opened) history.back();
  else go(MOMENT, { replace: true });
}

/** Hear of every move, and of where the reader starts. */
export function onPlace(listener) {
  listeners.push(listener);
  if (listeners.length === 1) addEventListener("popstate", tell);
}

/** Tell every listener where the reader is. */
export function tell() {
  const place = here();
  for (const listener of listeners) listener(place);
}

/** Make a link move within the page, unless the reader wants another tab or window. */
export function follow(event, changes) {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.button > 0) return;
  event.preventDefault();
  go(changes);
}
