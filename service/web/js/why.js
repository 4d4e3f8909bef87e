// Why a moment was found: its super image, with the attention of each cell.

import { framesOf, strongest, superImageAt } from "./attention.js";
import { h, icon, styled } from "./elements.js";
import { clock, grid, percent, stretch } from "./format.js";

/** The super image beside the video; a click on a cell seeks to its time. */
export function why(root, { seek }) {
  const sheet = root.querySelector(".sheet");
  const picture = sheet.querySelector("img");
  const cells = sheet.querySelector(".cells");
  const words = root.querySelector(".words");
  const caption = root.querySelector(".caption");
  const [back, on] = root.querySelectorAll("nav button");
  let attention = null;
  let number = 0;
  back.append(icon("back"));
  on.append(icon("on"));
  back.addEventListener("click", () => turn(number - 1));
  on.addEventListener("click", () => turn(number + 1));

  /** Take a video's attention and show the super image of the moment that begins at `start`. */
  function draw(loaded, start) {
    attention = loaded;
    root.hidden = false;
    show(start);
  }

  /** Show the super image of the moment that begins at `start`. */
  function show(start) {
    if (attention) turn(superImageAt(attention, start));
  }

  function turn(to) {
    number = Math.min(Math.max(to, 0), attention.super_image_count - 1);
    const size = attention.grid_size;
    const url = `/v1/videos/${encodeURIComponent(attention.video_id)}/super-images/${number}?grid_size=${size}`;
    picture.src = url;
    const shown = framesOf(attention, number);
    styled(sheet, { "--grid": size });
    cells.replaceChildren(...shown.map((frame) => cell(frame)));
    const whole = shown.reduce((sum, frame) => sum + attention.weights[frame], 0);
    const span = stretch(attention.starts[shown[0]], attention.ends[shown.at(-1)]);
    picture.alt = `Super image ${number + 1}: the frames from ${span}, ${grid(size)}`;
    caption.textContent = `${number + 1} of ${attention.super_image_count} · ${span}`;
    words.textContent =
      `The model sees ${grid(size)} frames as one picture. The brighter a cell, the more the ` +
      `query attends to it. This picture has ${percent(whole)} of the video's attention.`;
    back.disabled = number === 0;
    on.disabled = number === attention.super_image_count - 1;
  }

  function cell(frame) {
    const share = attention.weights[frame];
    const strength = share / strongest(attention);
    const begin = attention.starts[frame];
    const label = `${clock(begin)}, ${percent(share)} of the attention; play from here`;
    const attributes = { type: "button", "aria-label": label, onclick: () => seek(begin) };
    const button = h("button", attributes, h("span", {}, percent(share)));
    if (strength === 1) button.classList.add("strongest");
    return styled(button, { "--strength": strength.toFixed(3) });
  }

  function hide() {
    attention = null;
    root.hidden = true;
  }

  return { draw, show, hide };
}
