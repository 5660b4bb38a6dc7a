// Requests by outcome and tier, and latencies: of the last minute, or since the instance was started.

import { $, fill, h, tabs } from "../dom.js";
import { count, exactness, quantileParts, seconds, words } from "../format.js";
import { changed, watch } from "../state.js";

const NAMES = { ttft: "To first token", tpot: "Per output token", queue: "Wait for an engine", duration: "Whole request" };
const MARKS = { completed: ["good", "●"], refused: ["warn", "▲"], failed: ["bad", "✕"], client: ["", "○"] };
const MEANS = { completed: "", refused: "refused", failed: "a fault of ours", client: "the client's doing" };
let span = "recent";

const number = (parts) => [parts[0], parts[1] && h("span", { class: "u" }, ` ${parts[1]}`)];

function outcomes(shown) {
  const rows = shown.outcomes;
  const tiers = [...new Set(rows.flatMap((row) => Object.keys(row.tiers)))].sort();
  const label = (tier) => tier || "no tier";
  const table = $("outcomes");
  fill(table.tHead, tiers, () => h("tr", {}, h("th", { scope: "col" }, "Outcome"), h("th", { scope: "col", class: "n" }, "All"),
    tiers.map((tier) => h("th", { scope: "col", class: "n", title: tier ? "" : "ended before it was known who asked" }, label(tier)))));
  const cells = rows.map((row) => [row.outcome, row.kind, row.count[span], ...tiers.map((tier) => row.tiers[tier]?.[span] ?? 0)]);
  fill(table.tBodies[0], [span, tiers, cells], () => cells.length
    ? cells.map(([outcome, kind, all, ...each]) => h("tr", {},
      h("td", {}, h("span", { class: `${MARKS[kind][0]}-ink`, "aria-hidden": "true" }, `${MARKS[kind][1]} `), words(outcome), h("span", { class: "note" }, MEANS[kind] && ` ${MEANS[kind]}`)),
      h("td", { class: "n" }, count(all)), each.map((value) => h("td", { class: value ? "n" : "n dim" }, count(value)))))
    : h("tr", {}, h("td", { class: "empty" }, "No request has come yet.")));
}

function latencies(shown) {
  const rows = shown.latencies.map((row) => [row.name, row[span]]);
  fill($("latencies").tBodies[0], rows, () => rows.map(([name, found]) => h("tr", {},
    h("td", {}, NAMES[name] ?? name),
    ["p50", "p95", "p99"].map((which) => h("td", { class: "n", title: exactness(found[which]) }, number(quantileParts(found[which])))),
    h("td", { class: "n dim" }, seconds(found.mean)),
    h("td", { class: "n dim" }, count(found.count)))));
}

export function startTraffic() {
  tabs($("span"), [["recent", "Last minute"], ["total", "Since start"]], span, (value) => { span = value; changed(); });
  watch(({ snapshot: shown }) => {
    if (!shown) return;
    outcomes(shown);
    latencies(shown);
  });
}
