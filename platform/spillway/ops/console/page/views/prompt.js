// The prompt box: a request of one's own through a gateway, streamed, with the time of every piece.

import { ask } from "../api.js";
import { $, announce, fill, h, say } from "../dom.js";
import { count, seconds } from "../format.js";
import { events } from "../sse.js";
import { watch } from "../state.js";
import { drawGaps } from "./strip.js";
import { showTrace } from "./waterfall.js";

const TITLES = {
  TTFT: "from sending to the first piece, as this page saw it",
  pieces: "parts of the stream: a step that was quick, or a gateway that was busy, gives several tokens at once",
};
let running = null;

async function send() {
  if (running) return;
  running = new AbortController();
  const run = { sent: performance.now(), times: [], usage: null, id: null, served: "" };
  $("prompt-send").disabled = true;
  $("prompt-stop").disabled = false;
  $("prompt-trace").hidden = true;
  $("answer").classList.remove("problem");
  say($("answer"), "");
  tell(run);
  try {
    await stream(run);
    announce(`The answer is complete: ${run.times.length} pieces`);
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
    else announce("Stopped");
  } finally {
    running = null;
    $("prompt-send").disabled = false;
    $("prompt-stop").disabled = true;
    $("prompt-trace").hidden = !run.id;
    $("prompt-trace").dataset.id = run.id ?? "";
    run.ended = performance.now();
    tell(run);
  }
}

async function stream(run) {
  const headers = $("prompt-key").value ? { "x-api-key": $("prompt-key").value } : {};
  const body = { model: $("prompt-model").value, prompt: $("prompt-text").value };
  if ($("prompt-max").value) body.max_tokens = Number($("prompt-max").value);
  if ($("prompt-temperature").value) body.temperature = Number($("prompt-temperature").value);
  const response = await ask("/console/prompt", { method: "POST", body, headers, signal: running.signal });
  run.id = response.headers.get("x-request-id");
  for await (const { data } of events(response)) {
    if (data === "[DONE]") break;
    const told = JSON.parse(data);
    if (told.error) throw new Error(told.error.message);
    if (told.usage) run.usage = told.usage;
    const text = told.choices?.[0]?.delta?.content;
    if (!text) continue;
    run.times.push(performance.now());
    $("answer").append(text);
    $("answer").scrollTop = $("answer").scrollHeight;
    tell(run);
  }
}

function problem(text) {
  $("answer").classList.add("problem");
  $("answer").append(`${$("answer").textContent ? "\n" : ""}✕ ${text}`);
  announce(text);
}

let due = false;
function tell(run) {
  if (due && !run.ended) return;
  due = true;
  requestAnimationFrame(() => { due = false; show(run); });
}

function show({ sent, times, usage, ended, id }) {
  const gaps = times.slice(1).map((at, index) => (at - times[index]) / 1000);
  const sorted = [...gaps].sort((one, other) => one - other);
  const part = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
  const tokens = usage?.completion_tokens;
  const rows = [
    ["TTFT", seconds(times.length ? (times[0] - sent) / 1000 : null)],
    ["gap p50", seconds(part(0.5))], ["p95", seconds(part(0.95))], ["longest", seconds(sorted.at(-1) ?? null)],
    ["pieces", count(times.length)], ["tokens", tokens === undefined ? "–" : count(tokens)],
    ["in all", seconds(((ended ?? performance.now()) - sent) / 1000)],
    ["request", id ?? "–"],
  ];
  fill($("timings"), rows, () => rows.map(([name, value]) => h("div", { title: TITLES[name] ?? "" }, h("dt", {}, name), h("dd", {}, value))));
  drawGaps($("strip"), gaps);
}

function models({ snapshot: shown }) {
  if (!shown) return;
  fill($("prompt-model"), shown.models, () => shown.models.map((name) => h("option", { value: name }, name)));
}

export function startPrompt() {
  $("prompt").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("prompt-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("prompt").requestSubmit(); }
    if (event.key === "Escape") event.target.blur();
  });
  $("prompt-stop").addEventListener("click", () => running?.abort());
  $("prompt-trace").addEventListener("click", () => {
    showTrace(`/console/requests/${encodeURIComponent($("prompt-trace").dataset.id)}`);
    $("waterfall-title").scrollIntoView({ block: "nearest" });
    $("waterfall-title").focus({ preventScroll: true });
  });
  watch(models);
}
