// Slow, failed and recovered requests: the list from the trace store, asked for again when requests have ended.

import { askJson } from "../api.js";
import { $, h, keep, say, tabs } from "../dom.js";
import { moment, seconds, words } from "../format.js";
import { state, watch } from "../state.js";
import { showTrace } from "./waterfall.js";

const WHICH = [["slow", "Slowest"], ["failed", "Failed"], ["recovered", "Recovered"], ["all", "Latest"]];
const EMPTY = { slow: "No request is kept yet.", failed: "No request has failed.", recovered: "No request had to be recovered.", all: "No request is kept yet." };
const EVERY_MS = 2000;
const LIMIT = 14;

let which = "slow";
let chosen = null;
let seen = null;
let asked = 0;

function tone(one) {
  if (one.failed) return ["bad", "✕"];
  if (one.outcome !== "completed") return ["warn", "▲"];
  return one.recovered ? ["warn", "↻"] : ["good", "●"];
}

function row(one) {
  return h("tr", { data: { trace: one.trace_id }, onclick: () => choose(one) },
    h("td", {}, h("span", { class: "badge" })),
    h("td", {}, h("button", { type: "button", title: one.request_id }, one.request_id || one.trace_id.slice(0, 16)), h("span", { class: "note" })),
    h("td", { class: "n" }), h("td", { class: "n" }), h("td", { class: "n dim" }));
}

function update(node, one) {
  const [kind, mark] = tone(one);
  const badge = node.querySelector(".badge");
  badge.className = `badge ${kind}`;
  say(badge, `${mark} ${one.recovered && one.outcome === "completed" ? "recovered" : words(one.outcome || "unknown")}`);
  say(node.querySelector(".note"), ` ${one.model}${one.tenant && one.tenant !== "anonymous" ? `, ${one.tenant}` : ""}`);
  const [ttft, took, at] = node.querySelectorAll("td.n");
  say(ttft, seconds(one.ttft_s));
  say(took, seconds(one.duration_s));
  say(at, moment(one.at));
  node.setAttribute("aria-selected", String(one.trace_id === chosen));
}

function choose(one) {
  chosen = one.trace_id;
  for (const node of $("requests").tBodies[0].rows) node.setAttribute("aria-selected", String(node.dataset.trace === chosen));
  showTrace(`/console/traces/${encodeURIComponent(one.trace_id)}`);
}

async function refresh() {
  asked = Date.now();
  const own = which;
  try {
    const { requests, problem } = await askJson(`/console/requests?which=${own}&limit=${LIMIT}`);
    if (own !== which) return;
    keep($("requests").tBodies[0], requests, (one) => one.trace_id + one.request_id, row, update);
    say($("requests-note"), requests.length ? "" : problem ? `The trace store cannot be read: ${problem}.` : EMPTY[own]);
  } catch (error) {
    say($("requests-note"), `The list cannot be read: ${error.message}.`);
  }
}

/** Ask again once requests have ended since, but not all the time. */
function look({ snapshot: shown, link }) {
  if (!shown || link.status !== "live") return;
  const ended = shown.outcomes.reduce((sum, one) => sum + one.count.total, 0);
  if (seen === ended && Date.now() - asked < 4 * EVERY_MS) return;
  if (Date.now() - asked < EVERY_MS) return;
  seen = ended;
  refresh();
}

/** Arrow keys go from row to row. */
function move(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const buttons = [...$("requests").querySelectorAll("tbody button")];
  const at = buttons.indexOf(document.activeElement);
  const next = buttons[at + step] ?? (at < 0 ? buttons[0] : null);
  if (next) {
    event.preventDefault();
    next.focus();
  }
}

export function startRequests() {
  tabs($("which"), WHICH, which, (value) => {
    which = value;
    if (state.snapshot) refresh();
  });
  $("requests").closest("section").addEventListener("keydown", (event) => {
    if (!event.target.closest("#which")) move(event);
  });
  watch(look);
}
