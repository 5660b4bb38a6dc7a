// The dialogs: the admin key, "are you sure", and the shortcuts.

import { Refused, askJson, key } from "./api.js";
import { $, announce, h, say } from "./dom.js";
import { retry } from "./stream.js";

let waiting = [];

/** Have the key: the one that is kept, or the one that is typed now. Resolves to false if there is none. */
export function haveKey(why = "") {
  return key.get() ? Promise.resolve(true) : askForKey(why);
}

/** Ask for the key, whatever is kept. */
export function askForKey(why = "") {
  const dialog = $("key-dialog");
  const input = h("input", { type: "password", id: "key-input", autocomplete: "off", required: true, spellcheck: false });
  const problem = h("p", { class: "problem", role: "alert" }, why);
  const done = (has) => {
    dialog.close();
    for (const resolve of waiting.splice(0)) resolve(has);
  };
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    const given = input.value.trim();
    try {
      await askJson("/admin/pool", { secret: given });
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        say(problem, error.message);
        input.select();
        return;
      }
    }
    key.set(given);
    shown();
    announce("The admin key is kept for this tab");
    done(true);
    retry();
  } },
    h("h2", { id: "key-title" }, "Admin key"),
    h("p", {}, "It is in ", h("code", {}, "admin.key"), " in the state folder of this instance. It is kept in this tab until it is closed, and sent to ops alone."),
    h("label", { htmlFor: "key-input" }, "Key"), input, problem,
    h("div", { class: "tools" },
      key.get() && h("button", { type: "button", onclick: () => { key.forget(); shown(); done(false); } }, "Forget the key"),
      h("button", { type: "button", onclick: () => done(false) }, "Cancel"),
      h("button", { type: "submit", class: "main" }, "Keep it")));
  dialog.oncancel = () => done(false);
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
  input.focus();
  return new Promise((resolve) => waiting.push(resolve));
}

/** Ask before something that others will notice. Resolves to whether to do it. */
export function confirmed(title, text, verb) {
  const dialog = $("confirm-dialog");
  return new Promise((resolve) => {
    const done = (yes) => { dialog.close(); resolve(yes); };
    dialog.oncancel = () => resolve(false);
    const yes = h("button", { type: "button", class: "main", onclick: () => done(true) }, verb);
    dialog.replaceChildren(h("div", {}, h("h2", { id: "confirm-title" }, title), h("p", {}, text),
      h("div", { class: "tools" }, h("button", { type: "button", onclick: () => done(false) }, "Cancel"), yes)));
    dialog.showModal();
    yes.focus();
  });
}

/** Show the shortcuts, as `keyboard` has them. */
export function showHelp(shortcuts) {
  const dialog = $("help-dialog");
  dialog.replaceChildren(h("div", {}, h("h2", { id: "help-title" }, "Keyboard"),
    h("dl", { class: "keys" }, shortcuts.flatMap(([name, text]) => [h("dt", {}, h("kbd", {}, name)), h("dd", {}, text)])),
    h("div", { class: "tools" }, h("button", { type: "button", class: "main", onclick: () => dialog.close() }, "Close"))));
  dialog.showModal();
}

function shown() {
  $("key-button").textContent = key.get() ? "Admin key: given" : "Admin key";
}

export function startDialogs() {
  $("key-button").addEventListener("click", () => askForKey());
  shown();
}
