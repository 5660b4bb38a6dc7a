// One request as a waterfall: every span at its time, what each phase took in all, and what a span says when opened.

import { askJson } from "../api.js";
import { $, h, say } from "../dom.js";
import { moment, seconds } from "../format.js";

const PHASES = ["admission", "queue", "prefill", "decode", "preempted", "stalled", "send", "tail"];
const TIME_IN = "spillway.time_in.";
let latest = 0;

/** Show the trace that a question to ops answers with. */
export async function showTrace(path) {
  const own = ++latest;
  say($("waterfall-note"), "reading …");
  try {
    const { parts } = await patiently(() => askJson(path), () => own === latest);
    if (own === latest) draw(parts);
  } catch (error) {
    if (own !== latest) return;
    say($("waterfall-note"), "");
    $("waterfall").replaceChildren(h("p", { class: "empty" }, error.message));
  }
}

/** A request that ended a moment ago is written a moment later. */
async function patiently(act, wanted) {
  for (let left = 8; ; left -= 1) {
    try {
      return await act();
    } catch (error) {
      if (error.status !== 404 || !left || !wanted()) throw error;
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  }
}

function draw(parts) {
  const [first] = parts;
  const { summary } = first;
  say($("waterfall-note"), `${summary.name}, ${moment(summary.at)}, ${seconds(summary.duration_s)}, ${summary.outcome.replaceAll("_", " ")}`);
  $("waterfall").replaceChildren(...parts.map(part));
}

function part({ summary, spans }) {
  const depth = depths(spans);
  const whole = Math.max(summary.duration_s, 1e-9);
  const times = PHASES.map((name) => [name, spans[0]?.attributes[TIME_IN + name]]).filter(([, took]) => took > 0);
  return h("div", { class: "spans-part" },
    h("p", { class: "mono dim clip" }, `${summary.request_id}  trace ${summary.trace_id}`),
    h("div", { class: "whole", "aria-hidden": "true" }, times.map(([name, took]) => h("i", { class: `tone-${name}`, style: { flex: `${(100 * took) / whole} 0 0` } }))),
    h("p", { class: "legend" }, times.map(([name, took]) =>
      h("span", {}, h("i", { class: `tone-${name}` }), `${name} ${seconds(took)}`, h("span", { class: "dim" }, `${((100 * took) / whole).toFixed(1)} %`)))),
    h("div", { class: "spans" }, spans.map((span) => line(span, depth.get(span.id) ?? 0, whole))));
}

function depths(spans) {
  const found = new Map();
  for (const span of spans) found.set(span.id, found.has(span.parent) ? found.get(span.parent) + 1 : 0);
  return found;
}

function toneOf(span, depth) {
  if (PHASES.includes(span.name)) return span.name;
  return depth ? "attempt" : "root";
}

function title(span) {
  const engine = span.attributes["spillway.engine"];
  const number = span.attributes["spillway.attempt"];
  return span.name === "attempt" ? `attempt ${number ?? ""}${engine ? ` · ${engine}` : ""}` : span.name;
}

function line(span, depth, whole) {
  const at = (value) => `${(100 * Math.max(0, value)) / whole}%`;
  const detail = h("dl", { class: "detail", hidden: true });
  const marks = span.name === "decode" ? [] : span.events.map((event) =>
    h("u", { class: event.name.endsWith("lost") ? "lost" : "", style: { left: at(event.at_s) }, title: `${event.name} at ${seconds(event.at_s)}` }));
  const toggle = h("button", { type: "button", class: "span", "aria-expanded": "false", data: { span: span.name },
    title: `${title(span)}: from ${seconds(span.start_s)}, ${seconds(span.duration_s)}`,
    onclick: () => {
      detail.hidden = !detail.hidden;
      toggle.setAttribute("aria-expanded", String(!detail.hidden));
      if (!detail.hidden && !detail.childElementCount) detail.append(...facts(span));
    } },
    h("span", { class: `name d${Math.min(depth, 3)}${span.failed ? " bad-ink" : ""}` }, `${span.failed ? "✕ " : ""}${title(span)}`),
    h("span", { class: "lane" }, h("i", { class: `tone-${toneOf(span, depth)}`, style: { left: at(span.start_s), width: at(span.duration_s) } }), marks),
    h("span", { class: "n" }, seconds(span.duration_s)));
  return h("div", {}, toggle, detail);
}

function facts(span) {
  const rows = [["starts at", seconds(span.start_s)]];
  if (span.message) rows.push(["error", span.message]);
  rows.push(...Object.entries(span.attributes));
  for (const event of span.events.slice(0, 40)) {
    const more = Object.entries(event.attributes).map(([name, value]) => `${name}=${value}`).join(" ");
    rows.push([`event at ${seconds(event.at_s)}`, `${event.name} ${more}`]);
  }
  if (span.events.length > 40) rows.push(["events", `${span.events.length - 40} more`]);
  for (const id of span.links) rows.push(["linked to span", id]);
  return rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, Array.isArray(value) ? value.join(", ") : String(value))]);
}
