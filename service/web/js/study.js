// The study tab: plots of recall against cost, drawn by `make study`.

import { h } from "./elements.js";
import { noPlots } from "./empty.js";
import { Problem, ask } from "./http.js";

// The question that each plot answers; other plots follow under their file names.
const QUESTIONS = {
  cost: "What does recall cost?",
  grids: "How does recall fall as the grid grows?",
  units: "Whole super images, cells, or both?",
  branches: "What does each branch add?",
  sampling: "Super images against sparse and small frames",
  poolings: "Attention, mean or max pooling?",
  hybrid: "What does reranking with a finer grid add?",
  lengths: "What do longer videos cost?",
  groups: "Short moments in long videos",
  ablation: "What is each trained part worth?",
  capacity: "What can one machine handle, by grid size?",
  growth: "How large a library does one machine search?",
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
      place.replaceChildren(h("p", { class: "message problem", role: "alert" }, error.message));
    }
  }

  return { show: () => loaded || load() };
}

function ordered(files) {
  const names = files.map((file) => file.replace(/\.svg$/, ""));
  const first = Object.keys(QUESTIONS).filter((name) => names.includes(name));
  return [...first, ...names.filter((name) => !(name in QUESTIONS))];
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
      { href: url, target: "_blank", "aria-label": `${question} (full size)` },
      h("img", { src: url, alt: `Plot: ${question}`, loading: "lazy", width: 792, height: 590 }),
    ),
  );
}
