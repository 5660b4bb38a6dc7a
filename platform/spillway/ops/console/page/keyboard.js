// Shortcuts: single keys, none while something is typed.

import { askForKey, showHelp } from "./dialogs.js";
import { $ } from "./dom.js";
import { nextTheme } from "./theme.js";

const go = (id) => () => {
  const target = $(id);
  target.scrollIntoView({ block: "start" });
  target.focus({ preventScroll: true });
};

const SHORTCUTS = [
  ["?", "this list", () => showHelp(SHORTCUTS)],
  ["e", "the pool's engines", go("pool-title")],
  ["v", "events", go("timeline-title")],
  ["r", "requests; ↑ and ↓ choose one, Enter shows it", go("requests-title")],
  ["w", "the waterfall", go("waterfall-title")],
  ["p", "write a prompt; Ctrl+Enter sends it", go("prompt-text")],
  ["l", "traffic and latency", go("traffic-title")],
  ["a", "admission", go("admission-title")],
  ["o", "objectives", go("objectives-title")],
  ["f", "faults, with --chaos", go("faults-title")],
  ["k", "the admin key", () => askForKey()],
  ["t", "theme: system, light, dark", nextTheme],
  ["Esc", "close what is open", null],
];

export function startKeyboard() {
  $("help-button").addEventListener("click", () => showHelp(SHORTCUTS));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, textarea, select")) return;
    const found = SHORTCUTS.find(([name, , act]) => act && name === event.key);
    if (!found) return;
    event.preventDefault();
    found[2]();
  });
}
