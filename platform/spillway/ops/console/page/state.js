// What is known, and who wants to know when it changes. Views draw when the browser draws, and not in a hidden tab.

export const state = {
  about: {},
  columns: [],
  kept: 600,
  /** The first bucket of each latency that has a chart: below it a percentile is only known to be below it. */
  finest: {},
  chartsS: 10,
  tablesS: 60,
  points: [],
  happenings: [],
  snapshot: null,
  /** Alerts of objectives that fire: name, severity, since (unix time), and the objective's title. */
  firing: [],
  /** Of the stream: `live`, `lost` or `closed`, why, and since when (ms). */
  link: { status: "connecting", why: "", since: Date.now() },
};

const views = new Set();
let due = false;

/** Call `view` now and after every change. */
export function watch(view) {
  views.add(view);
  changed();
}

/** Say that something changed. */
export function changed() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const view of views) {
      try {
        view(state);
      } catch (error) {
        console.error(error); // one view's fault must not blind the others
      }
    }
  });
}

/** Take what the stream says first, or again after it was lost: everything. */
export function begin(hello) {
  Object.assign(state, {
    about: hello.about,
    columns: hello.columns,
    kept: hello.kept,
    finest: hello.finest,
    chartsS: hello.charts_s,
    tablesS: hello.tables_s,
    points: hello.points,
    happenings: hello.happenings,
    snapshot: hello.snapshot,
  });
  changed();
}

/** Take what is new. */
export function advance(tick) {
  state.points = state.points.concat(tick.points).slice(-state.kept);
  if (tick.happenings.length) {
    state.happenings = state.happenings.concat(tick.happenings).sort((one, other) => one.at - other.at).slice(-200);
  }
  state.snapshot = tick.snapshot;
  changed();
}

export function link(status, why = "") {
  if (state.link.status !== status) state.link = { status, why, since: Date.now() };
  else state.link.why = why;
  changed();
}
