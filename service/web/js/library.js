// The library tab: all videos, newest first, page by page.

import { h, icon } from "./elements.js";
import { clock, counted, size } from "./format.js";
import { Problem, ask } from "./http.js";
import { firstSteps } from "./empty.js";
import { follow, near, urlOf } from "./place.js";

const PAGE = 24;
// The service's limit for one page.
const LONGEST_PAGE = 200;
const WORDS = {
  queued: "waiting",
  running: "being indexed",
  failed: "failed",
  cancelled: "cancelled",
};

/** The library tab; `confirm(question)` asks before a video is deleted. */
export function libraryTab(root, { addVideos, confirm, onChange }) {
  const list = root.querySelector(".videos");
  const summary = root.querySelector(".summary");
  const notice = root.querySelector(".notice");
  const more = root.querySelector(".more");
  let visible = false;
  let loads = 0;
  let nextToken = null;
  let shown = PAGE;
  more.addEventListener("click", () => {
    shown = list.children.length + PAGE;
    load(nextToken, PAGE);
  });

  async function load(token, limit) {
    const number = (loads += 1);
    try {
      const from = token ? `&page_token=${encodeURIComponent(token)}` : "";
      const page = await ask(`/v1/videos?limit=${limit}${from}`);
      // A later load has newer data.
      if (number !== loads) return;
      if (!token) list.replaceChildren();
      list.append(...page.videos.map(card));
      nextToken = page.next_page_token;
      const total = page.total_count;
      summary.textContent = total ? counted(total, "video") : "";
      notice.replaceChildren(...(total ? [] : [firstSteps(addVideos)]));
      more.hidden = !nextToken;
    } catch (error) {
      refuse(error);
    }
  }

  function card(video) {
    const title = h("span", { class: "title", title: video.title }, video.title);
    const facts = [video.duration ? clock(video.duration) : null, size(video.bytes)];
    const label = `Delete ${video.title}`;
    const remove = h("button", { type: "button", class: "icon-button", "aria-label": label });
    remove.title = "Delete";
    remove.append(icon("delete"));
    remove.addEventListener("click", () => removeVideo(video));
    return h(
      "li",
      { class: "card", "data-video": video.id },
      opener(video, title),
      h(
        "p",
        { class: "facts" },
        h("span", {}, facts.filter(Boolean).join(" · "), damage(video)),
        remove,
      ),
    );
  }

  function opener(video, title) {
    const there = { video: video.id, start: "", end: "" };
    const attributes = {
      class: "open",
      href: urlOf(near({ view: "library", ...there })),
      onclick: (event) => follow(event, there),
      "aria-label": `Play ${video.title}`,
    };
    const picture = `/v1/videos/${video.id}/thumbnail?t=${(video.duration / 3).toFixed(2)}`;
    const content =
      video.state === "ready"
        ? [h("img", { src: picture, alt: "", loading: "lazy" }), icon("play")]
        : [h("span", { class: `state ${video.state}` }, WORDS[video.state])];
    return h("a", attributes, h("span", { class: "frame" }, ...content), title);
  }

  async function removeVideo(video) {
    const sure = await confirm(
      `Delete “${video.title}”?`,
      "This removes the file, its pictures and its embeddings. Searches no longer find it.",
      "Delete",
    );
    if (!sure) return;
    try {
      await ask(`/v1/videos/${video.id}`, { method: "DELETE" });
      onChange();
    } catch (error) {
      refuse(error);
    }
  }

  function refuse(error) {
    if (!(error instanceof Problem)) throw error;
    notice.replaceChildren(h("p", { class: "message problem", role: "alert" }, error.message));
  }

  function reload() {
    load(null, Math.min(shown, LONGEST_PAGE));
  }

  return {
    show() {
      if (!visible) reload();
      visible = true;
    },
    hide() {
      visible = false;
    },
    refresh() {
      if (visible) reload();
    },
    async total() {
      return (await ask("/v1/videos?limit=1")).total_count;
    },
  };
}

function damage({ state, duration, indexed_seconds: indexed }) {
  if (state !== "ready" || indexed >= duration * 0.9) return null;
  return h("span", { class: "warn" }, ` · damaged, indexed up to ${clock(indexed)}`);
}
