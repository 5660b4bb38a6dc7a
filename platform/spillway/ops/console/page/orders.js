// What changes something: drain, restart, faults, profiles. Each needs the key, and says what became of it.

import { ask, askJson } from "./api.js";
import { askForKey, confirmed, haveKey } from "./dialogs.js";
import { announce } from "./dom.js";
import { notify } from "./alerts.js";

/** Do something with the key; ask for it again if it is not the right one any more. Returns whether it was done. */
async function withKey(act) {
  if (!(await haveKey())) return false;
  for (;;) {
    try {
      notify(await act());
      return true;
    } catch (error) {
      if (error.status !== 401) {
        notify(error.message, "bad");
        return false;
      }
      if (!(await askForKey(error.message))) return false;
    }
  }
}

const order = (path, body) => withKey(async () => (await askJson(path, { method: "POST", body: body ?? {} })).message);

export async function drain(engine) {
  if (await confirmed(`Drain ${engine}?`, "It finishes what it has and then stays stopped, until it is restarted.", "Drain"))
    await order(`/admin/engines/${encodeURIComponent(engine)}/drain`);
}

export async function restart(engine) {
  if (await confirmed(`Restart ${engine}?`, "It finishes what it has and is then started anew.", "Restart"))
    await order(`/admin/engines/${encodeURIComponent(engine)}/restart`);
}

export async function rollingRestart() {
  if (await confirmed("Restart all engines?", "One after another, each when the one before is ready.", "Restart all"))
    await order("/admin/rolling-restart");
}

export const injectFault = (body) => order("/admin/faults", body);

/** Take a profile for five seconds and hand it over as a file. */
export async function profile(child, button) {
  const before = button.textContent;
  await withKey(async () => {
    button.disabled = true;
    button.textContent = "5 s …";
    announce(`Profiling ${child} for five seconds`);
    try {
      const response = await ask(`/admin/profile/${encodeURIComponent(child)}?seconds=5`, { method: "POST" });
      const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? `${child}.json`;
      const url = URL.createObjectURL(await response.blob());
      const anchor = document.createElement("a");
      anchor.href = url;
      anchor.download = name;
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
      return `${name} is saved: open it at speedscope.app, which reads it in the browser alone`;
    } finally {
      button.disabled = false;
      button.textContent = before;
    }
  });
}
