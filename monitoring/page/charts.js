// The charts of the last hours. Each has its newest values as text: nobody needs to see the lines, or their colours.

import uPlot from "./uplot.js";
import { range } from "./api.js";
import { bytes, duration, percent } from "./text.js";

const HEIGHT_REM = 11;
const CHARTS = [
  { name: "bytes", title: "Images stored and read per second", label: "direction", write: bytes },
  { name: "steps", title: "Time of the probes' steps", label: "step", write: duration },
  { name: "busy", title: "Busy processors", label: "node", write: percent },
  { name: "tasks", title: "Images that wait for a destination", label: "destination", write: (count) => String(Math.round(count)) },
];
// Lines differ by their dashes too.
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const drawn = new Map();

/** What the page calls one rem, in pixels: larger on a wall. */
function rem() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize);
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return { lines: [1, 2, 3, 4].map((number) => style.getPropertyValue(`--line-${number}`).trim()), text: style.getPropertyValue("--text").trim(), grid: style.getPropertyValue("--edge").trim() };
}

/** Return the series as uPlot takes them: the times, then one list of values for each series, null where there is none. */
export function aligned(series, { start, end, step }) {
  const times = [];
  for (let time = start; time <= end; time += step) times.push(time);
  return [
    times,
    ...series.map(({ points }) => {
      const values = new Map(points.map(([time, value]) => [Math.round(time), value]));
      return times.map((time) => (Number.isFinite(values.get(time)) ? values.get(time) : null));
    }),
  ];
}

function options(chart, series, width) {
  const { lines, text, grid } = colours();
  const axis = { stroke: text, font: `${0.75 * rem()}px system-ui, sans-serif`, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
  return {
    width,
    height: HEIGHT_REM * rem(),
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [
      { ...axis, values: "{HH}:{mm}", space: 4 * rem(), size: 2.5 * rem() },
      { ...axis, size: 4.5 * rem(), values: (_, ticks) => ticks.map(chart.write) },
    ],
    series: [{}, ...series.map((_, number) => ({ stroke: lines[number % lines.length], dash: DASHES[number % DASHES.length], width: 2, points: { show: false } }))],
  };
}

function sample(number) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", "0 0 32 6");
  made.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 32, y1: 3, y2: 3, class: `line-${(number % 4) + 1}`, "stroke-dasharray": DASHES[number % DASHES.length].join(" ") })) line.setAttribute(name, value);
  made.append(line);
  return made;
}

function figure(place, chart, data, series) {
  const made = document.createElement("figure");
  const title = document.createElement("figcaption");
  title.textContent = chart.title;
  const canvas = document.createElement("div");
  const newest = series.map((one, number) => {
    const values = data[number + 1].filter((value) => value !== null);
    return { name: one.labels[chart.label] ?? "all", value: values.length ? chart.write(values.at(-1)) : "–" };
  });
  const legend = document.createElement("ul");
  legend.append(
    ...newest.map(({ name, value }, number) => {
      const item = document.createElement("li");
      item.append(sample(number), ` ${name}: ${value}`);
      return item;
    }),
  );
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", newest.length ? `${chart.title}, six hours. Now ${newest.map(({ name, value }) => `${name} ${value}`).join(", ")}.` : `${chart.title}: no data`);
  made.append(title, canvas, legend);
  place.append(made);
  return canvas;
}

/** Draw all charts again. */
export async function show(place, expressions, time) {
  const answers = await Promise.allSettled(CHARTS.map(({ name }) => range(expressions[name], time)));
  for (const chart of drawn.values()) chart.destroy();
  drawn.clear();
  place.replaceChildren();
  CHARTS.forEach((chart, number) => {
    const { value: series, reason } = answers[number];
    if (!series?.length) {
      const note = document.createElement("p");
      note.textContent = `${chart.title}: ${reason ? reason.message : "no data"}`;
      place.append(note);
      return;
    }
    series.sort((one, other) => (one.labels[chart.label] ?? "").localeCompare(other.labels[chart.label] ?? ""));
    const data = aligned(series, time);
    const canvas = figure(place, chart, data, series);
    drawn.set(chart.name, new uPlot(options(chart, series, canvas.clientWidth), data, canvas));
  });
}

addEventListener("resize", () => {
  for (const chart of drawn.values()) chart.setSize({ width: chart.root.parentElement.clientWidth, height: HEIGHT_REM * rem() });
});
