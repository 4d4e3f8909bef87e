// One file in the panel of uploads.

import { announce, h, icon } from "./elements.js";
import { follow, urlOf } from "./place.js";

/** A row with the file's name, its state, its progress and an action. */
export class UploadRow {
  constructor(name) {
    this.name = name;
    this.text = h("span", { class: "doing" }, "waiting to be sent");
    this.bar = h("progress", { max: 1, value: 0, "aria-label": `Progress of ${name}` });
    this.button = h("button", { type: "button", class: "icon-button" });
    this.title = h("span", { class: "title", title: name }, name);
    const words = h("div", { class: "words" }, this.title, this.text);
    this.element = h("li", { "data-state": "" }, words, this.button, this.bar);
  }

  show(text, share) {
    this.element.dataset.state = "";
    delete this.element.dataset.waiting;
    this.setText(text);
    this.bar.value = share;
  }

  /** Show that the upload waits; announce it once to screen readers. */
  pause(text) {
    if (!("waiting" in this.element.dataset)) announce(`${this.name}: ${text}`);
    this.element.dataset.waiting = "";
    this.setText(text);
  }

  setText(text) {
    this.text.textContent = text;
  }

  stop(action) {
    this.offer("close", "Cancel", action);
  }

  offer(symbol, verb, action) {
    this.button.hidden = false;
    this.button.replaceChildren(icon(symbol));
    this.button.setAttribute("aria-label", `${verb}: ${this.name}`);
    this.button.title = verb;
    this.button.onclick = action;
  }

  end(state, text) {
    this.show(text, state === "ready" ? 1 : this.bar.value);
    this.element.dataset.state = state;
    this.button.hidden = true;
  }

  link(videoId) {
    const place = { view: "library", video: videoId };
    const href = urlOf(place);
    const open = h("a", { href, onclick: (event) => follow(event, place) }, this.name);
    this.title.replaceChildren(open);
  }

  remove() {
    this.element.remove();
  }
}
