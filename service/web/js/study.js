// The study tab: plots of recall against cost, drawn by `make study`.

import { h } from "./elements.js";
import { noPlots } from "./empty.js";
import { Problem, ask } from "./http.js";

// What each plot answers; plots that are new to this list follow under their own names.
const QUESTIONS = {
  cost: "What does recall cost?",
  grids: "How does recall fall as the grid grows?",
  units: "Whole super images, cells, or both?",
  branches: "What does each branch add?",
  sampling: "Super images against sparse and small frames",
  poolings: "Attention, mean or max pooling?",
  hybrid: "What does scoring the best again by a finer model give?",
  lengths: "What do longer videos cost?",
  groups: "Short moments in long videos",
  ablation: "What is each trained part worth?",
  capacity: "How much does one machine take, by grid size?",
};

/** The study tab. */
export function studyTab(root) {
  const place = root.querySelector(".plots");
  let loaded = false;

  async function load() {
    try {
      const { plots } = await ask("/study");
      place.replaceChildren(...(plots.length ? ordered(plots).map(figure) : [noPlots()]));
      loaded = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      place.replaceChildren(h("p", { class: "said problem", role: "alert" }, error.message));
    }
  }

  return { show: () => loaded || load() };
}

function ordered(files) {
  const names = files.map((file) => file.replace(/\.svg$/, ""));
  const known = Object.keys(QUESTIONS).filter((name) => names.includes(name));
  return [...known, ...names.filter((name) => !(name in QUESTIONS))];
}

function figure(name) {
  const url = `/study/${encodeURIComponent(name)}.svg`;
  const question = QUESTIONS[name] ?? name;
  return h(
    "figure",
    {},
    h("figcaption", {}, question),
    h(
      "a",
      { href: url, target: "_blank", "aria-label": `${question} (the plot by itself)` },
      h("img", { src: url, alt: `Plot: ${question}`, loading: "lazy", width: 792, height: 590 }),
    ),
  );
}
