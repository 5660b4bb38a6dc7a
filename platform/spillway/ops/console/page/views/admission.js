// Who is let in and who is not, why, how long the line is, and how far the brownout ladder was climbed.

import { $, fill, h, say } from "../dom.js";
import { count, percent, words } from "../format.js";
import { watch } from "../state.js";

function decided({ admitted, refused }) {
  const all = admitted.recent + refused.recent;
  return [
    h("p", {}, h("b", {}, count(admitted.recent)), " admitted, ", h("b", { class: refused.recent ? "warn-ink" : "" }, count(refused.recent)),
      ` refused${all ? ` (${percent(refused.recent / all)})` : ""} in the last minute; ${count(admitted.total)} and ${count(refused.total)} since the start`),
    h("div", { class: "share", role: "img", "aria-label": `${percent(all ? admitted.recent / all : 0)} admitted` },
      all ? [h("i", { style: { flex: `${admitted.recent} 0 0` } }), h("i", { style: { flex: `${refused.recent} 0 0` } })] : []),
  ];
}

function ladder({ brownout, ladder: steps }) {
  if (!brownout.length) return h("p", { class: "empty" }, "No gateway says how it is.");
  return brownout.map(({ model, level, pressure }) => h("div", { class: "ladder" },
    h("p", {}, h("b", {}, model), ` level ${level} of ${steps.length}`, pressure === null ? "" : h("span", { class: "dim" }, `, pressure ${pressure.toFixed(2)} (refusals begin at 1)`)),
    steps.map((name, index) => h("span", { class: index < level ? "step on" : "step" }, `${index < level ? "■" : "□"} ${name}`))));
}

function draw({ snapshot: shown }) {
  if (!shown) return;
  const { admission } = shown;
  fill($("decided"), [admission.admitted, admission.refused], () => decided(admission));
  fill($("reasons").tBodies[0], admission.reasons, () => admission.reasons.length
    ? admission.reasons.map(({ reason, count: { recent, total } }) => h("tr", {}, h("td", {}, words(reason)),
      h("td", { class: recent ? "n" : "n dim" }, count(recent)), h("td", { class: "n dim" }, count(total))))
    : h("tr", {}, h("td", { class: "empty", colspan: "3" }, "Nobody was refused.")));
  const levels = admission.brownout.map((one) => ({ ...one, pressure: one.pressure === null ? null : Number(one.pressure.toFixed(2)) }));
  fill($("brownout"), [levels, admission.ladder], () => ladder({ ...admission, brownout: levels }));
  const bands = Object.entries(admission.queued);
  fill($("bands"), bands, () => bands.length
    ? bands.map(([band, waiting]) => h("div", {}, h("dt", {}, band), h("dd", {}, count(waiting))))
    : h("p", { class: "empty" }, "–"));
  say($("admission-note"), admission.limiter_degraded ? "quotas without Redis" : "");
}

export function startAdmission() {
  watch(draw);
}
