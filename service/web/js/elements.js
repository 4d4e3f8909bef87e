// Elements without markup: what users wrote only ever becomes text or an attribute's value.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; `onclick` and the like are listeners, null and false leave an attribute out. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A symbol of index.html, for the eye alone: what it stands on has a name in words. */
export function icon(name) {
  const picture = svg("svg", { class: "icon", "aria-hidden": "true" });
  picture.append(svg("use", { href: `#icon-${name}` }));
  return picture;
}

/** Custom properties for the style sheets; a style attribute would be against the policy. */
export function styled(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  return element;
}

/** Say something to who listens to the page rather than sees it. */
export function announce(text) {
  document.getElementById("announcements").textContent = text;
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
