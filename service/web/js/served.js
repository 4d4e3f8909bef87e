// What the service offers to choose from: modes and grid sizes.

import { h } from "./elements.js";
import { grid } from "./format.js";
import { ask } from "./http.js";

const RANKINGS = {
  fast: "Fast ranking",
  accurate: "Accurate ranking",
  hybrid: "Hybrid ranking",
};

/** Fill a form's choices; what is not there is not offered. */
export async function offerChoices(form) {
  const [document, { models }] = await Promise.all([ask("/docs.json"), ask("/v1/models")]);
  const { enum: modes, default: usual } = document.components.schemas.SearchRequest.properties.mode;
  const sizes = models.find(({ state }) => state === "active")?.grid_sizes ?? [];
  // What goes without saying is the first choice, and leaves the URL alone.
  const ordered = [usual, ...modes.filter((mode) => mode !== usual)];
  offer(form.elements.mode, ordered.map((mode) => [mode, RANKINGS[mode] ?? mode]));
  offer(form.elements.grid, sizes.map((size) => [String(size), `Grid ${grid(size)}`]));
}

function offer(select, choices) {
  const options = choices.map(([value, text], at) => h("option", { value: at ? value : "" }, text));
  select.append(...options);
  // One choice is none.
  select.closest("label").hidden = choices.length < 2;
}
