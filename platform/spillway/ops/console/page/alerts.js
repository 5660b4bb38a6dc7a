// What nobody must miss: a stream that was lost, a supervisor that is silent, an objective's alert, and what became of
// an order.

import { $, announce, h, keep, say } from "./dom.js";
import { clock, moment } from "./format.js";
import { changed, state, watch } from "./state.js";

const NOTICE_MS = 12000;
const MOST_NAMED = 3;
let notice = null;

/** Say something for a while. */
export function notify(text, tone = "warn") {
  notice = { id: "notice", text, tone };
  const own = notice;
  announce(text);
  setTimeout(() => { if (notice === own) { notice = null; changed(); } }, NOTICE_MS);
  changed();
}

function standing(now) {
  const found = [];
  const at = clock(now.link.since / 1000);
  if (now.link.status === "lost") {
    found.push({ id: "link", tone: "bad", text: `The stream was lost at ${at} (${now.link.why}); what is shown is from then. Connecting again …` });
  } else if (now.link.status === "closed") {
    found.push({ id: "link", tone: "bad", text: `${now.link.why} Nothing is shown without it.` });
  }
  const shown = now.snapshot;
  if (shown?.problem) {
    const from = shown.stale_s > 0 ? `; the pool is shown as it was ${Math.round(shown.stale_s)} s ago` : "";
    found.push({ id: "supervisor", tone: "bad", text: `${capital(shown.problem)}${from}.` });
  } else if (shown && !shown.ready) {
    found.push({ id: "ready", tone: "bad", text: `Not ready: ${shown.reasons.join("; ")}.` });
  }
  if (shown?.admission.limiter_degraded) {
    found.push({ id: "limiter", tone: "warn", text: "Quotas are decided without Redis: each gateway keeps to its share." });
  }
  found.push(...burning(now.firing));
  if (notice) found.push(notice);
  return found;
}

/** One line for each severity: which objectives burn, and since when; each objective at its loudest. */
function burning(firing) {
  const paged = new Set(firing.filter(({ severity }) => severity === "page").map(({ title }) => title));
  const told = firing.filter(({ severity, title }) => severity === "page" || !paged.has(title));
  return [...new Set(told.map(({ severity }) => severity))].map((severity) => {
    const alerts = told.filter((alert) => alert.severity === severity);
    const titles = [...new Set(alerts.map(({ title }) => title))];
    const since = moment(Math.min(...alerts.map((alert) => alert.since)));
    const named = titles.slice(0, MOST_NAMED).join("; ") + (titles.length > MOST_NAMED ? `; ${titles.length - MOST_NAMED} more` : "");
    const text = `${titles.length === 1 ? "An objective fires" : `${titles.length} objectives fire`} (${severity}) since ${since}: ${named}.`;
    return { id: `objectives-${severity}`, tone: severity === "page" ? "bad" : "warn", text };
  });
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export function startAlerts() {
  watch(() => keep($("alerts"), standing(state), (one) => one.id, () => h("p", { data: { alert: "" } }), (node, one) => {
    node.className = one.tone;
    say(node, `${one.tone === "bad" ? "✕" : "!"}  ${one.text}`);
  }));
}
