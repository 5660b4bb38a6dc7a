// Light or dark: as the system has it, until somebody chooses.

import { $, announce } from "./dom.js";

const STORED = "spillway.theme";
const ORDER = ["system", "light", "dark"];
const listeners = new Set();
const root = document.documentElement;

const current = () => root.dataset.theme ?? "system";

export function onTheme(listener) {
  listeners.add(listener);
}

export function nextTheme() {
  const next = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length];
  if (next === "system") {
    delete root.dataset.theme;
    localStorage.removeItem(STORED);
  } else {
    root.dataset.theme = next;
    localStorage.setItem(STORED, next);
  }
  told();
  announce(`Theme: ${next}`);
}

function told() {
  $("theme-button").textContent = `Theme: ${current()}`;
  for (const listener of listeners) listener();
}

/** A colour of the style sheet as the canvas needs it: resolved for the theme that is on. */
export function color(name) {
  const probe = color.probe ?? (color.probe = document.body.appendChild(document.createElement("span")));
  probe.hidden = true;
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

export function startTheme() {
  $("theme-button").addEventListener("click", nextTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", told);
  told();
}
