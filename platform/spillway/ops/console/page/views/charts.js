// The charts, by uPlot: one cursor for all of them, and a mark wherever an engine died or came back.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { $, h, say } from "../dom.js";
import { clock, count, percent, rate, seconds } from "../format.js";
import { state, watch } from "../state.js";
import { color, onTheme } from "../theme.js";

const SOLID = [];
const DASHED = [6, 3];
const DOTTED = [2, 3];
const MIXED = [8, 3, 2, 3];
const PERCENTILES = (name) => [
  [`${name}_p50`, "p50", "one", SOLID], [`${name}_p95`, "p95", "two", DASHED], [`${name}_p99`, "p99", "three", DOTTED],
  [`${name}_mean`, "mean", "four", MIXED],
];
const CHARTS = [
  { title: "Requests", unit: "/s", show: rate, lines: [
    ["completed", "completed", "one", SOLID], ["refused", "refused", "two", DASHED],
    ["failed", "failed", "four", MIXED], ["client", "client", "three", DOTTED]] },
  { title: "Time to first token", unit: "", show: seconds, latency: "ttft", lines: PERCENTILES("ttft") },
  { title: "Time per output token", unit: "", show: seconds, latency: "tpot", lines: PERCENTILES("tpot") },
  { title: "Tokens", unit: "/s", show: rate, lines: [["tokens", "sampled", "one", SOLID]], fill: true },
  { title: "Wait for an engine", unit: "", show: seconds, latency: "queue", lines: PERCENTILES("queue") },
  { title: "In the engines", unit: "", show: count, lines: [
    ["running", "running", "one", SOLID], ["waiting", "waiting", "two", DASHED], ["kv", "KV cache", "three", DOTTED, "share"]] },
];
const SHORTEST_S = 60;
const MARKS = { died: ["✕", "bad", DASHED], parked: ["✕", "bad", DASHED], returned: ["✓", "good", DOTTED], started: ["✓", "good", DOTTED], fault: ["!", "warn", DOTTED] };

const drawn = [];

function sample(tone, dash) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ width: 22, height: 8, "aria-hidden": "true" })) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x1: 1, y1: 4, x2: 21, y2: 4, "stroke-width": 2.4, "stroke-dasharray": dash.join(" ") })) line.setAttribute(name, value);
  line.style.stroke = `var(--${tone})`;
  svg.append(line);
  return svg;
}

/** Vertical lines where something happened. */
function marks() {
  return { hooks: { drawAxes: (plot) => {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * ratio}px sans-serif`;
    ctx.textAlign = "center";
    for (const one of state.happenings) {
      const mark = MARKS[one.kind];
      if (!mark) continue;
      const x = plot.valToPos(one.at, "x", true);
      if (x < left || x > left + width) continue;
      ctx.strokeStyle = ctx.fillStyle = color(mark[1]);
      ctx.lineWidth = ratio;
      ctx.setLineDash(mark[2].map((part) => part * ratio));
      ctx.beginPath();
      ctx.moveTo(x, top + 12 * ratio);
      ctx.lineTo(x, top + height);
      ctx.stroke();
      ctx.fillText(mark[0], x, top + 9 * ratio);
    }
    ctx.restore();
  } } };
}

function options(chart, place) {
  const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: place.clientWidth, height: place.clientHeight, legend: { show: false },
    cursor: { sync: { key: "console" }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
    plugins: [marks()],
    scales: {
      x: { time: true, range: (_, min, max) => [Math.min(min, max - SHORTEST_S), max] },
      y: { range: (_, __, max) => [0, max > 0 ? max * 1.12 : 1] },
      share: { range: [0, 1] },
    },
    axes: [
      { ...axis, space: 84, size: 26, values: (_, splits) => splits.map(clock) },
      { ...axis, size: 58, space: 30, values: (_, splits) => splits.map((value) => (value === 0 ? "0" : chart.show(value))) },
      ...(chart.lines.some((line) => line[4]) ? [{ ...axis, scale: "share", side: 1, size: 44, grid: { show: false }, values: (_, splits) => splits.map(percent) }] : []),
    ],
    series: [{}, ...chart.lines.map(([, label, tone, dash, scale]) => ({
      label, scale: scale ?? "y", stroke: color(tone), width: 1.8, dash, spanGaps: false, points: { show: false },
      fill: chart.fill ? color(tone).replace("rgb(", "rgba(").replace(")", ", .14)") : undefined,
    }))],
    hooks: { setCursor: [() => values(chart)] },
  };
}

const column = (name) => state.columns.indexOf(name);

function values(chart) {
  const at = chart.plot?.cursor.idx ?? state.points.length - 1;
  for (const [index, [name, , , , scale]] of chart.lines.entries()) {
    const value = state.points[at]?.[column(name)] ?? null;
    say(chart.numbers[index], value === null ? "–" : told(chart, name, value, scale));
  }
}

function told(chart, name, value, scale) {
  if (scale) return percent(value);
  const finest = finestOf(chart, name);
  if (value < finest) return `< ${seconds(finest)}`;
  return chart.unit ? `${chart.show(value)} ${chart.unit}` : chart.show(value);
}

function build(definition) {
  const chart = { ...definition };
  chart.numbers = chart.lines.map(() => h("b"));
  chart.place = h("div", { class: "plot" });
  chart.figure = h("figure", { class: "chart" },
    h("figcaption", {}, h("strong", {}, chart.title),
      h("span", { class: "keys-row" }, chart.lines.map(([, label, tone, dash], index) =>
        h("span", { class: "key" }, sample(tone, dash), label, chart.numbers[index])))),
    chart.place);
  return chart;
}

function plot(chart) {
  chart.plot?.destroy();
  chart.plot = new uPlot(options(chart, chart.place), data(chart), chart.place);
  chart.plot.root.setAttribute("aria-hidden", "true"); // the same numbers stand in the caption and in the tables
}

const data = (chart) => [state.points.map((point) => point[0]), ...chart.lines.map(([name]) => {
  const at = column(name);
  const finest = finestOf(chart, name);
  // in the first bucket nothing is known but that: no line, and the legend says so
  return state.points.map((point) => (point[at] !== null && point[at] < finest ? null : point[at]));
})];

const finestOf = (chart, name) => (chart.latency && !name.endsWith("_mean") ? state.finest[chart.latency] : -1);

function draw() {
  if (!state.points.length) return;
  for (const chart of drawn) {
    if (!chart.plot) plot(chart);
    else chart.plot.setData(data(chart));
    values(chart);
  }
}

export function startCharts() {
  for (const definition of CHARTS) {
    const chart = build(definition);
    drawn.push(chart);
    $("charts").append(chart.figure);
  }
  new ResizeObserver(() => {
    for (const { plot: one, place } of drawn) one?.setSize({ width: place.clientWidth, height: place.clientHeight });
  }).observe($("charts"));
  onTheme(() => drawn.forEach((chart) => chart.plot && plot(chart)));
  watch(draw);
}
