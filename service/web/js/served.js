// The choices that the service offers: modes and grid sizes.

import { h } from "./elements.js";
import { grid } from "./format.js";
import { ask } from "./http.js";

const RANKINGS = {
  fast: "Fast ranking",
  accurate: "Accurate ranking",
  hybrid: "Hybrid ranking",
};

/** Fill a form's choices with what the service offers. */
export async function offerChoices(form) {
  const [document, { models }] = await Promise.all([ask("/docs.json"), ask("/v1/models")]);
  const { enum: modes, default: standard } = document.components.schemas.SearchRequest.properties.mode;
  const sizes = models.find(({ state }) => state === "active")?.grid_sizes ?? [];
  // The default comes first and is not written to the URL.
  const ordered = [standard, ...modes.filter((mode) => mode !== standard)];
  offer(form.elements.mode, ordered.map((mode) => [mode, RANKINGS[mode] ?? mode]));
  offer(form.elements.grid, sizes.map((size) => [String(size), `Grid ${grid(size)}`]));
}

function offer(select, choices) {
  const options = choices.map(([value, text], at) => h("option", { value: at ? value : "" }, text));
  select.append(...options);
  // A single choice is no choice.
  select.closest("label").hidden = choices.length < 2;
}
