// The live stream: opened, read, and opened again when it is lost, a little later each time, up to 5 s.

import { ask } from "./api.js";
import { events } from "./sse.js";
import { advance, begin, link } from "./state.js";

const SILENT_MS = 8000; // ops tells something every second; a supervisor that hangs makes that three
const PAUSES_MS = [250, 500, 1000, 2000, 5000];
let wake = () => {};

/** Read for ever. `needKey` is called when ops wants the key. */
export async function follow(needKey) {
  for (let failures = 0; ; ) {
    const stop = new AbortController();
    let watchdog = 0;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => stop.abort(), SILENT_MS);
    };
    let why = "the stream ended";
    try {
      alive();
      const response = await ask("/console/events", { signal: stop.signal });
      for await (const { event, data } of events(response)) {
        alive();
        if (event === "hello") begin(JSON.parse(data));
        else if (event === "tick") advance(JSON.parse(data));
        failures = 0;
        link("live");
      }
    } catch (error) {
      why = error.name === "AbortError" ? "nothing came for 8 s" : error.message;
      if (error.status === 401) {
        link("closed", why);
        needKey(why);
        await woken();
        continue;
      }
    } finally {
      clearTimeout(watchdog);
    }
    link("lost", why);
    await Promise.race([pause(PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)]), woken()]);
    failures += 1;
  }
}

/** Try at once: a key was given, or the network came back. */
export const retry = () => wake();

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const woken = () => new Promise((resolve) => { wake = resolve; });
addEventListener("online", retry);
