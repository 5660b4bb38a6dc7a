// Objectives, budgets and burn: what ops' `/slo` answers, asked for while somebody looks.

import { askJson } from "../api.js";
import { $, fill, h, say } from "../dom.js";
import { percent } from "../format.js";
import { changed, state } from "../state.js";

const EVERY_MS = 5000;
const NONE_MS = 60000; // there is no such page: it may be there after a restart of ops
const WINDOWS = ["5m", "1h", "6h", "3d"];
const LITTLE = 0.25;
let notBefore = 0;

/** Loudest first: what fires, what is about to, then whose budget is smallest. */
const loudness = (one) => (firing(one).length ? 0 : pending(one).length ? 1 : 2);
const inState = (one, state) => (one.alerts ?? []).filter((alert) => alert.state === state);
const firing = (one) => inState(one, "firing");
const pending = (one) => inState(one, "pending");
const judged = (one) => one.total === undefined || one.total > 0;
const budget = (one) => one.budget_left ?? 1;

function toneOf(one) {
  if (firing(one).length || budget(one) <= 0) return ["bad", "✕"];
  if (pending(one).length || budget(one) < LITTLE) return ["warn", "▲"];
  return ["good", "●"];
}

function row(one) {
  const [tone, mark] = toneOf(one);
  const left = one.budget_left;
  const loud = [["firing", firing(one), "bad"], ["pending", pending(one), "warn"]].filter(([, alerts]) => alerts.length);
  return h("tr", {},
    h("td", { title: one.description ?? "" }, h("span", { class: `${tone}-ink`, "aria-hidden": "true" }, `${mark} `), one.title ?? one.name,
      loud.map(([state, alerts, kind]) => h("span", { class: `note ${kind}-ink` }, ` ${state}: ${alerts.map((alert) => alert.name).join(", ")}`))),
    h("td", { class: "n" }, typeof one.target === "number" ? `${Number((one.target * 100).toFixed(4))} %` : "–"),
    h("td", {}, h("span", { class: "meter" }, h("span", {}, budgetText(left)),
      h("span", { class: left < LITTLE ? "bar high" : "bar" }, h("i", { style: { width: `${Math.max(0, Math.min(1, left ?? 0)) * 100}%` } })))),
    WINDOWS.map((window) => h("td", { class: one.burn?.[window] > 1 ? "n warn-ink" : "n dim" }, burn(one.burn?.[window]))));
}

function budgetText(left) {
  if (typeof left !== "number") return "–";
  return left >= 0 ? `${percent(left)} left` : `spent ${times(1 - left)}`;
}

const times = (rate) => `${rate >= 100 ? rate.toFixed(0) : rate.toFixed(1)} ×`;
const burn = (rate) => (typeof rate === "number" ? times(rate) : "–");

function draw({ objectives }) {
  const shown = (objectives ?? []).filter(judged).sort((one, other) => loudness(one) - loudness(other) || budget(one) - budget(other));
  const silent = (objectives ?? []).length - shown.length;
  const mark = shown.map((one) => [one.name, one.budget_left, one.burn, firing(one).length, pending(one).length]);
  fill($("objectives"), [mark, silent], () => [
    shown.length ? h("div", { class: "tall", tabIndex: 0, role: "region", "aria-labelledby": "objectives-title" }, table(shown)) : null,
    !shown.length && h("p", { class: "empty" }, silent ? "No request was judged yet." : "No objectives."),
    silent ? h("p", { class: "note" }, `${silent}${shown.length ? " more" : ""} ${silent === 1 ? "objective has" : "objectives have"} had nothing to judge.`) : null,
  ]);
}

const table = (shown) => h("table", { class: "numbers objectives" },
  h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Objective"), h("th", { scope: "col", class: "n" }, "Target"), h("th", { scope: "col" }, "Error budget"),
    WINDOWS.map((window) => h("th", { scope: "col", class: "n" }, `burn ${window}`)))),
  h("tbody", {}, shown.map(row)));

/** What fires is everybody's affair: it stands above the page, too. */
function tell({ objectives }) {
  state.firing = (objectives ?? []).flatMap((one) => firing(one).map(({ name, severity, since }) => ({ name, severity, since, title: one.title ?? one.name })));
  changed();
}

async function look() {
  if (document.hidden || state.link.status !== "live" || Date.now() < notBefore) return;
  try {
    const told = await askJson("/slo");
    draw(told);
    tell(told);
    say($("objectives-note"), "");
  } catch (error) {
    if (error.status === 404) {
      notBefore = Date.now() + NONE_MS;
      draw({ objectives: [] });
      tell({ objectives: [] });
    } else say($("objectives-note"), error.message);
  }
}

export function startObjectives() {
  setInterval(look, EVERY_MS);
  setTimeout(look, 800);
}
