// Asks, thinks and shows, every 15 seconds.

import * as api from "./api.js";
import * as charts from "./charts.js";
import * as elsewhere from "./elsewhere.js";
import * as model from "./model.js";
import * as view from "./view.js";

const EVERY_MS = 15_000;
const SLOW_EVERY_MS = 300_000;
const CHARTS_EVERY_MS = 60_000;
const HOURS_S = 6 * 3600;
const STEP_S = 60;

// What is known last. Times are those of Prometheus, and ages go on by a clock that nobody sets: that of this machine may be wrong.
const known = { now: null, slow: null, found: null, dataAge: Infinity, at: -Infinity, time: 0, failure: "" };
let slowAt = -Infinity;
let chartsAt = -Infinity;

function since() {
  return (performance.now() - known.at) / 1000;
}

async function ask(files) {
  try {
    const now = await api.several(files.queries.now);
    // Without it nobody knows how old the rest is.
    if (!now.age?.length || !now.clock?.length) throw new api.ApiError("no numbers");
    Object.assign(known, { now, dataAge: now.age[0].value, at: performance.now(), time: now.clock[0].value, failure: "" });
  } catch (error) {
    known.failure = `Prometheus: ${error.message}`;
  }
  known.found = await api.alerts().then(model.alerts).catch(() => null);
  if (performance.now() - slowAt > SLOW_EVERY_MS) {
    const slow = await api.several(files.queries.slow).catch(() => null);
    if (slow) [known.slow, slowAt] = [slow, performance.now()];
  }
}

function show(files) {
  const now = known.now ?? Object.fromEntries(Object.keys(files.queries.now).map((name) => [name, null]));
  const sections = {
    nodes: model.nodes(now),
    leads: model.leads(now),
    objectives: model.objectives(files.objectives, now, known.slow),
    delivery: model.delivery(now),
    elsewhere: { site: elsewhere.otherSite(now), backups: elsewhere.backups(now) },
    space: model.space(now, known.slow, known.time),
    checks: model.checks(now, known.time),
    drills: model.drills(now, known.time),
  };
  const age = known.dataAge + since();
  const verdict = model.verdict({ age, now, found: known.found, sections });
  view.header({ verdict, age, old: !(age <= model.OLD_S), failure: known.failure, at: known.time - known.dataAge, site: known.found?.site });
  view.alerts(known.found);
  view.nodes(sections);
  view.objectives(sections.objectives);
  view.delivery(sections.delivery);
  view.elsewhere(sections.elsewhere);
  view.space(sections.space);
  view.checks(sections.checks);
  view.drills(sections.drills);
}

async function showCharts(files) {
  const end = Math.floor((known.time + since()) / STEP_S) * STEP_S;
  await charts.show(document.querySelector("#hours > div"), files.queries.hours, { start: end - HOURS_S, end, step: STEP_S });
}

async function turn(files) {
  await ask(files);
  show(files);
  if (known.now && performance.now() - chartsAt > CHARTS_EVERY_MS) {
    chartsAt = performance.now();
    await showCharts(files);
  }
}

async function main() {
  const [queries, about] = await Promise.all([api.file("queries.json"), api.file("site.json")]);
  const files = { queries, objectives: about.objectives };
  const again = async () => {
    try {
      await turn(files);
    } finally {
      setTimeout(again, EVERY_MS);
    }
  };
  // Between two turns too: a page whose answers stay away has to say so by itself.
  setInterval(() => show(files), EVERY_MS);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => known.now && showCharts(files));
  await again();
}

main().catch((error) => view.broken(error.message));
