// The top line and the tiles: is it serving, how much, how fast, whom does it refuse.

import { $, h, keep, say } from "../dom.js";
import { NOTHING, clock, count, exactness, percent, quantileParts, rate, seconds } from "../format.js";
import { state, watch } from "../state.js";

export const latencyOf = (shown, name) => shown.latencies.find((row) => row.name === name);

const last = (name) => state.points.at(-1)?.[state.columns.indexOf(name)] ?? null;
const share = (part, whole) => (whole > 0 ? `${percent(part / whole)} of arrivals` : "no arrivals");

function tiles(shown) {
  const recent = (kind) => shown.outcomes.filter((row) => row.kind === kind).reduce((sum, row) => sum + row.count.recent, 0);
  const [ttft, tpot] = ["ttft", "tpot"].map((name) => latencyOf(shown, name).recent);
  const ready = shown.engines.filter((engine) => engine.state === "ready").length;
  const level = Math.max(0, ...shown.admission.brownout.map((one) => one.level));
  const pressure = Math.max(0, ...shown.admission.brownout.map((one) => one.pressure ?? 0));
  const [failed, refused] = [recent("failed"), recent("refused")];
  const window = `last ${Math.round(shown.window_s)} s`;
  return [
    ["Engines ready", `${ready}/${shown.engines.length}`, "", `recovered: ${count(shown.recoveries.total)} requests`, ready < shown.engines.length ? (ready ? "warn" : "bad") : ""],
    ["Arrivals", rate(last("arrivals")), "/s", `${count(shown.open_requests)} open`],
    ["Tokens", rate(last("tokens")), "/s", `${count(shown.tokens.total)} sampled`],
    ["TTFT p95", ...quantileParts(ttft.p95), `of ${count(ttft.count)}, ${window}`, "", exactness(ttft.p95)],
    ["TPOT p95", ...quantileParts(tpot.p95), `of ${count(tpot.count)}, ${window}`, "", exactness(tpot.p95)],
    ["Refused", count(refused), "", share(refused, shown.arrivals.recent), refused ? "warn" : ""],
    ["Failed", count(failed), "", share(failed, shown.arrivals.recent), failed ? "bad" : ""],
    ["Brownout", level ? `level ${level}` : "off", "", pressure ? `pressure ${pressure.toFixed(2)}` : "no pressure", level ? "warn" : ""],
  ].map(([name, value, unit, note, tone = "", title = ""]) => ({ name, value, unit, note, tone, title }));
}

const MARKS = { good: "●", warn: "▲", bad: "✕" };

function standing(now) {
  if (now.link.status === "connecting" || !now.snapshot) return ["", "connecting"];
  if (now.link.status !== "live") return ["bad", "connection lost"];
  const shown = now.snapshot;
  if (shown.problem) return ["bad", "supervisor silent"];
  if (!shown.ready) return ["bad", shown.phase === "serving" ? "not ready" : shown.phase];
  const whole = shown.engines.every((engine) => engine.state === "ready" || engine.state === "standby");
  return whole ? ["good", "serving"] : ["warn", "serving, not whole"];
}

function draw(now) {
  const [tone, text] = standing(now);
  $("standing").className = `badge ${tone}`;
  say($("standing"), tone ? `${MARKS[tone]} ${text}` : text);
  document.title = `${tone === "good" || !tone ? "" : `${MARKS[tone]} `}Spillway console`;
  const shown = now.snapshot;
  if (!shown) return;
  say($("live"), now.link.status === "live" ? `live, ${clock(shown.at)}` : `as of ${clock(shown.at)}`);
  say($("version"), now.about.version ?? "");
  const uptime = shown.uptime_s === null ? "" : `up ${seconds(shown.uptime_s)}, `;
  say($("footer"), `${uptime}models: ${shown.models.join(", ") || NOTHING}; charts are of the ${now.chartsS} s before each point, figures of the last ${now.tablesS} s`);
  keep($("tiles"), tiles(shown), (one) => one.name,
    (one) => h("dl", { class: "tile" }, h("dt", {}, one.name), h("dd", {}, h("span"), h("span", { class: "u" })), h("small")),
    (node, one) => {
      const [value, unit] = node.querySelectorAll("dd span");
      say(value, one.value);
      value.className = one.tone ? `${one.tone}-ink` : "";
      say(unit, one.unit ? ` ${one.unit}` : "");
      say(node.querySelector("small"), one.note);
      node.title = one.title;
    });
}

export function startHeader() {
  watch(draw);
}
