// Faults on order; the panel is there only when the instance was started with --chaos.

import { askJson } from "../api.js";
import { haveKey } from "../dialogs.js";
import { $, fill, h, say } from "../dom.js";
import { injectFault } from "../orders.js";
import { state, watch } from "../state.js";

const FALLBACK = { slow_step: 0.5, nan_logits: 0.5, kv_exhaustion: 0.5 };
let known = null;

const chosen = () => known?.find((one) => one.name === $("fault-name").value);

function form() {
  $("faults").replaceChildren(
    h("label", {}, "Engine ", h("select", { id: "fault-engine" })),
    h("label", {}, "Fault ", h("select", { id: "fault-name", onchange: explain }, known.map((one) => h("option", { value: one.name }, one.name)))),
    h("label", { id: "fault-value-label" }, "Value ", h("input", { id: "fault-value", type: "number", step: "any" })),
    h("label", {}, "For steps ", h("input", { id: "fault-steps", type: "number", min: "1", value: "1" })),
    h("button", { type: "submit", class: "main" }, "Order it"),
    h("p", { class: "note meaning", id: "fault-meaning" }));
  explain();
}

function explain() {
  const fault = chosen();
  say($("fault-meaning"), fault.meaning.replaceAll("`value`", "value"));
  $("fault-value-label").hidden = !fault.value;
  if (!fault.value) return;
  Object.assign($("fault-value"), { min: String(fault.value[0]), max: String(fault.value[1]), value: String(FALLBACK[fault.name] ?? fault.value[1]) });
}

async function learn() {
  if (known || !(await haveKey("The list of faults needs it."))) return;
  known = (await askJson("/admin/faults")).faults;
  form();
  engines();
}

function engines() {
  if (known && state.snapshot) {
    const ids = state.snapshot.engines.map((engine) => engine.id);
    fill($("fault-engine"), ids, () => ids.map((id) => h("option", { value: id }, id)));
  }
}

async function order(event) {
  event.preventDefault();
  const fault = chosen();
  const body = { engine: $("fault-engine").value, fault: fault.name, num_steps: Number($("fault-steps").value) || 1 };
  if (fault.value) body.value = Number($("fault-value").value);
  await injectFault(body);
}

export function startFaults() {
  $("faults").addEventListener("submit", order);
  watch(({ about }) => {
    const panel = $("faults-panel");
    if (panel.hidden && about.chaos) {
      panel.hidden = false;
      const button = h("button", { type: "button", onclick: () => learn().catch((error) => say(button, error.message)) }, "Choose a fault");
      $("faults").replaceChildren(button);
    }
    engines();
  });
}
