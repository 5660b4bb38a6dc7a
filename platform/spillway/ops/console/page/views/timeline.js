// What happened, the latest first: deaths, returns with their phases, orders, faults.

import { $, fill, h, say } from "../dom.js";
import { moment, seconds } from "../format.js";
import { watch } from "../state.js";

const MARKS = { died: "✕", parked: "✕", returned: "✓", started: "✓", stopped: "■", order: "→", fault: "!", phase: "▼", brownout: "◑", silence: "…" };
const SHOWN = 60;

function phases(one) {
  if (!one.phases.length) return null;
  const text = one.phases.map(([name, took]) => `${name} ${seconds(took)}`).join(", ");
  const whole = one.phases.reduce((sum, [, took]) => sum + took, 0) || 1;
  return h("div", { class: "phases", title: text, role: "img", "aria-label": text },
    one.phases.map(([name, took]) => h("span", { style: { "flex-grow": String((100 * took) / whole), "flex-basis": "0" } }, `${name} ${seconds(took)}`)));
}

const item = (one) => h("li", { data: { kind: one.kind } },
  h("time", { dateTime: new Date(one.at * 1000).toISOString() }, moment(one.at)),
  h("span", { class: one.tone === "plain" ? "dim" : `${one.tone}-ink`, "aria-hidden": "true" }, MARKS[one.kind] ?? "·"),
  h("span", { class: "text" }, one.subject && h("b", {}, `${one.subject} `), one.text),
  phases(one));

function draw({ happenings }) {
  const shown = happenings.slice(-SHOWN).reverse();
  fill($("timeline"), shown.map((one) => one.id), () =>
    shown.length ? shown.map(item) : h("li", { class: "empty" }, "Nothing has happened yet."));
  say($("timeline-note"), happenings.length ? `${happenings.length} kept` : "");
}

export function startTimeline() {
  watch(draw);
}
