// The pool: engines, gateways, Redis; what each is in, holds and does, and the buttons that change it.

import { $, h, keep, say } from "../dom.js";
import { count, exactness, moment, percent, quantileParts, rate, seconds, words } from "../format.js";
import { drain, profile, restart, rollingRestart } from "../orders.js";
import { watch } from "../state.js";

const TONES = {
  ready: ["good", "●"], external: ["good", "●"], standby: ["good", "◐"],
  draining: ["warn", "▼"], spawning: ["warn", "◌"], loading: ["warn", "◌"], warming: ["warn", "◌"], backoff: ["warn", "◌"],
  hung: ["bad", "✕"], crashed: ["bad", "✕"], parked: ["bad", "✕"], stopped: ["", "■"], absent: ["", "■"],
};
const FULL = 0.9;

const cell = (label, name, ...children) => h("td", { data: { label }, class: name }, ...children);
const meter = () => h("span", { class: "meter" }, h("span"), h("span", { class: "bar" }, h("i")));
const total = (restarts) => Object.values(restarts).reduce((sum, number) => sum + number, 0);
const causes = (restarts) => Object.entries(restarts).map(([cause, number]) => `${words(cause)}: ${number}`).join(", ");

function tell(node, child) {
  const [tone, mark] = TONES[child.state] ?? ["", "?"];
  const badge = node.querySelector(".badge");
  badge.className = `badge ${tone}`;
  say(badge, `${mark} ${child.state}`);
  const ended = child.last_exit;
  const last = node.querySelector("[data-part=last]");
  say(last, child.progress ? child.progress : ended ? `last end: ${words(ended.cause)}, ${moment(ended.at)}` : "");
  last.title = ended ? `#${ended.incarnation}: ${ended.message}` : "";
  say(node.querySelector("[data-part=who]"), child.incarnation ? `#${child.incarnation}${child.pid ? `, pid ${child.pid}` : ""}` : "");
  const restarts = node.querySelector("[data-part=restarts]");
  say(restarts, count(total(child.restarts)));
  restarts.title = causes(child.restarts);
}

function fillMeter(node, part, text) {
  say(node.querySelector("span"), text);
  const bar = node.querySelector(".bar");
  bar.classList.toggle("high", part > FULL);
  bar.firstChild.style.setProperty("width", `${Math.min(100, part * 100)}%`);
}

const who = (id) => [h("span", { class: "id" }, id), h("span", { class: "sub", data: { part: "who" } })];
const what = () => [h("span", { class: "badge" }), h("span", { class: "sub clip", data: { part: "last" } })];
const button = (text, label, act) => h("button", { type: "button", "aria-label": label, onclick: (event) => act(event.currentTarget) }, text);

function engineRow({ id }) {
  return h("tr", { data: { engine: id } },
    cell("Engine", "", h("div", {}, who(id))), cell("State", "", h("div", {}, what())),
    cell("Load", "", meter()), cell("KV cache", "", meter()),
    cell("Step p50 · p95", "n", h("span", { data: { part: "step" } })),
    cell("Tokens", "n", h("span", { data: { part: "tokens" } })),
    cell("Restarts", "n", h("span", { data: { part: "restarts" } })),
    cell("", "", h("div", { class: "tools" },
      button("Drain", `Drain ${id}`, () => drain(id)), button("Restart", `Restart ${id}`, () => restart(id)),
      button("Profile", `Profile ${id}`, (own) => profile(id, own)))));
}

function engine(node, one) {
  tell(node, one);
  const [load, cache] = node.querySelectorAll(".meter");
  const most = one.limit ? ` of ${Math.round(one.limit)}` : "";
  fillMeter(load, one.limit ? one.running / one.limit : 0, `${one.running}${most} running${one.waiting ? `, ${one.waiting} waiting` : ""}`);
  cache.title = `${count(one.kv_used)} of ${count(one.kv_total)} blocks`;
  fillMeter(cache, one.kv_total ? one.kv_used / one.kv_total : 0,
    one.kv_total ? `${percent(one.kv_used / one.kv_total)} of ${count(one.kv_total)}` : "–");
  const step = node.querySelector("[data-part=step]");
  say(step, `${quantileParts(one.step.p50).join(" ")} · ${quantileParts(one.step.p95).join(" ")}`);
  step.title = `${count(one.step.count)} steps; p95 ${exactness(one.step.p95)}`;
  say(node.querySelector("[data-part=tokens]"), `${rate(one.tokens_per_s)} /s`);
}

function serviceRow({ id, kind }) {
  return h("tr", { data: { service: id } },
    cell("Process", "", h("div", {}, who(id))), cell("State", "", h("div", {}, what())),
    cell("Open requests", kind === "gateway" ? "n" : "n none", h("span", { data: { part: "open" } })),
    cell("Arrivals", kind === "gateway" ? "n" : "n none", h("span", { data: { part: "arrivals" } })),
    cell(kind === "gateway" ? "Loop lag" : "Answer", "n", h("span", { data: { part: "lag" } })),
    cell("Restarts", "n", h("span", { data: { part: "restarts" } })),
    cell("", "", h("div", { class: "tools" }, kind === "gateway" && button("Profile", `Profile ${id}`, (own) => profile(id, own)))));
}

function service(node, one) {
  tell(node, one);
  const is = one.kind === "gateway";
  say(node.querySelector("[data-part=open]"), is ? count(one.open_requests) : "");
  say(node.querySelector("[data-part=arrivals]"), is ? `${rate(one.arrivals_per_s)} /s` : "");
  say(node.querySelector("[data-part=lag]"), seconds(is ? one.loop_lag_s : one.answer_s));
}

function draw({ snapshot: shown, tablesS }) {
  if (!shown) return;
  const gone = shown.gateways.filter((gateway) => gateway.pid === null).length;
  const note = [
    !shown.engines.length && "no engines are known",
    shown.engines.length && !shown.engines.some((one) => one.state === "ready") && "no engine is ready",
    gone && `${gone} of ${shown.gateways.length} gateways gone`,
  ].filter(Boolean).join("; ");
  say($("pool-note"), note || `steps, tokens and arrivals of the last ${Math.min(tablesS, Math.round(shown.window_s))} s`);
  $("pool-note").className = note ? "note bad-ink" : "note";
  keep($("engines").tBodies[0], shown.engines, (one) => one.id, engineRow, engine);
  const services = shown.gateways.map((one) => ({ ...one, kind: "gateway" }));
  services.push({ id: "redis", kind: "redis", last_exit: null, ...shown.redis });
  keep($("services").tBodies[0], services, (one) => one.id, serviceRow, service);
}

export function startPool() {
  $("rolling").addEventListener("click", rollingRestart);
  watch(draw);
}
