// Elements, made and kept up to date. Text is only ever text: nothing that comes from outside becomes markup.

export const $ = (id) => document.getElementById(id);

/** Make an element; `props` are properties, `on…` listeners, `data`, `style` and attributes that have a dash. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name === "style") for (const [rule, set] of Object.entries(value)) node.style.setProperty(rule, set);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "scope" || name === "colspan") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Set an element's text, if it is another: what did not change is not touched, and keeps a selection. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an element's children, if `mark` (anything that JSON can tell) is another than last time. */
export function fill(node, mark, make) {
  const told = JSON.stringify(mark);
  if (node.fillMark === told) return;
  node.fillMark = told;
  node.replaceChildren(...[make()].flat().filter(Boolean));
}

/**
 * Keep one child for each item, by its key: made once, updated every time. So a button keeps its focus while the
 * numbers beside it change.
 */
export function keep(parent, items, key, make, update) {
  const known = parent.keptChildren ?? (parent.keptChildren = new Map());
  const wanted = new Set();
  let before = null;
  for (const item of items) {
    const id = key(item);
    wanted.add(id);
    let node = known.get(id);
    if (!node) known.set(id, (node = make(item)));
    const next = before ? before.nextSibling : parent.firstChild;
    if (next !== node) parent.insertBefore(node, next);
    update(node, item);
    before = node;
  }
  for (const [id, node] of known) {
    if (!wanted.has(id)) {
      node.remove();
      known.delete(id);
    }
  }
}

/** Tell those who hear the page instead of seeing it. */
export function announce(text) {
  say($("said"), text);
}

/** A group of which one is chosen: arrow keys move, as in any radio group. */
export function tabs(parent, options, chosen, choose) {
  const buttons = options.map(([value, label]) =>
    h("button", { type: "button", role: "radio", data: { value }, onclick: () => pick(value) }, label));
  const pick = (value, focus = false) => {
    for (const button of buttons) {
      const is = button.dataset.value === value;
      button.setAttribute("aria-checked", String(is));
      button.tabIndex = is ? 0 : -1;
      if (is && focus) button.focus();
    }
    choose(value);
  };
  parent.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = buttons.findIndex((button) => button.getAttribute("aria-checked") === "true");
    pick(buttons[(at + step + buttons.length) % buttons.length].dataset.value, true);
  });
  parent.replaceChildren(...buttons);
  pick(chosen);
  return pick;
}
