// What nobody must miss: a stream that was lost, a supervisor that is silent, and what became of an order.

import { $, announce, h, keep, say } from "./dom.js";
import { clock } from "./format.js";
import { changed, state, watch } from "./state.js";

const NOTICE_MS = 12000;
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
  if (notice) found.push(notice);
  return found;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export function startAlerts() {
  watch(() => keep($("alerts"), standing(state), (one) => one.id, () => h("p", { data: { alert: "" } }), (node, one) => {
    node.className = one.tone;
    say(node, `${one.tone === "bad" ? "✕" : "!"}  ${one.text}`);
  }));
}
