// Elements without markup: user text only ever becomes text or an attribute value.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; `on…` attributes are listeners, and null or false omits an attribute. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A symbol of index.html, hidden from screen readers: its parent needs a label. */
export function icon(name) {
  const picture = svg("svg", { class: "icon", "aria-hidden": "true" });
  picture.append(svg("use", { href: `#icon-${name}` }));
  return picture;
}

/** Set custom properties for the style sheets; the content security policy forbids style attributes. */
export function styled(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  return element;
}

/** Announce a text to screen readers. */
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
