// A strip of bars: the gap before each piece of an answer, as this page saw it.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { seconds } from "../format.js";
import { color, onTheme } from "../theme.js";

let plot = null;
let shown = [];

/** Draw gaps, in seconds, into `place`. */
export function drawGaps(place, gaps) {
  shown = gaps;
  if (!gaps.length) {
    plot?.destroy();
    plot = null;
    place.replaceChildren();
    return;
  }
  const data = [gaps.map((_, index) => index + 2), gaps];
  if (plot) plot.setData(data);
  else plot = make(place, data);
}

function make(place, data) {
  const axis = { stroke: color("soft"), ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return new uPlot({
    width: place.clientWidth, height: 96, legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false, range: (_, min, max) => [min - 1, Math.max(max + 1, 20)] }, y: { range: (_, __, max) => [0, max * 1.1 || 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 60, values: (_, splits) => splits.map((at) => (Number.isInteger(at) ? `${at}` : "")) },
      { ...axis, grid: { stroke: color("line"), width: 1 }, size: 58, space: 24, values: (_, splits) => splits.map((value) => (value ? seconds(value) : "0")) },
    ],
    series: [{}, { label: "gap", stroke: color("one"), fill: color("one"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.75, 14] }) }],
  }, data, place);
}

onTheme(() => {
  if (!plot) return;
  const place = plot.root.parentElement;
  plot.destroy();
  plot = null;
  drawGaps(place, shown);
});
