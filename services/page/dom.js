// Elements without templates: nothing is ever parsed from text, so nothing that somebody wrote can become markup.

/**
 * An HTML element. Properties that begin with `on` are listeners; `class`, `aria-…`, `data-…` and the like are attributes;
 * null and false leave one out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat(Infinity));
  return element;
}

/** A small line drawing that says nothing which the text beside it does not. */
export function icon(path) {
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path }));
}

/** One of several, as a row of labels; arrow keys move between them. */
export function choices({ legend, name, options, value, onchange }) {
  const inputs = Object.entries(options).map(([key, label]) => {
    const input = h("input", { type: "radio", name, value: key, checked: key === value });
    input.addEventListener("change", () => onchange(key));
    return h("label", {}, input, label);
  });
  const set = h("fieldset", { class: "choices" }, h("legend", { class: "unseen" }, legend), inputs);
  set.choose = (key) => set.querySelectorAll("input").forEach((input) => (input.checked = input.value === key));
  return set;
}
