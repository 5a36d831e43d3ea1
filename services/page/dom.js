// Elements without templates: nothing is ever parsed from text, so nothing that somebody wrote can become markup.

/**
 * An HTML element. Properties that begin with `on` are listeners; `class`, `aria-…`, `data-…` and the like are attributes;
 * null and false leave one out.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} [properties]
 * @param {(Content | Content[])[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

/**
 * An element of a drawing.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {unknown[]} children  nodes and text, nested as they come
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(.../** @type {(Node | string)[]} */ (children.flat(Infinity)));
  return element;
}

/**
 * A small line drawing that says nothing which the text beside it does not.
 *
 * @param {string} path
 */
export function icon(path) {
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path }));
}

/**
 * One of several, as a row of labels; arrow keys move between them.
 *
 * @template {string} Key
 * @param {{ legend: Content, name: string, options: Record<Key, Content>, value: Key, onchange: (key: Key) => void }} about
 */
export function choices({ legend, name, options, value, onchange }) {
  const known = /** @type {[Key, Content][]} */ (Object.entries(options));
  const inputs = known.map(([key, label]) => {
    const input = h("input", { type: "radio", name, value: key, checked: key === value });
    input.addEventListener("change", () => onchange(key));
    return h("label", {}, input, label);
  });
  const set = h("fieldset", { class: "choices" }, h("legend", { class: "unseen" }, legend), inputs);
  /** @param {string} key */
  const choose = (key) => {
    for (const input of set.querySelectorAll("input")) input.checked = input.value === key;
  };
  return Object.assign(set, { choose });
}
