// From answers to what the page says. Plain functions: no clock, no network, no page.

import { bytes, duration, percent } from "./text.js";

/** Data that is older is not to be trusted; Prometheus asks every node each 30 s. */
export const OLD_S = 120;
/** The facts of a node are collected each 30 s too. */
const FACTS_OLD_S = 180;
const DAY_S = 86_400;
const SOON_DAYS = 30;
const LAG_S = 60;
const DELIVERY_S = 3600;
const CHECK_S = 3 * DAY_S;

/** States: how bad, the sign and the word that stand beside each other. Colour comes besides and says nothing more. */
export const STATES = {
  good: { rank: 0, sign: "✓", word: "good" },
  note: { rank: 1, sign: "i", word: "note" },
  unknown: { rank: 2, sign: "?", word: "not known" },
  warn: { rank: 3, sign: "!", word: "look at it" },
  bad: { rank: 4, sign: "✕", word: "act now" },
};

const PLACES = { archive: "Archive", "/srv/das": "DAS", "/srv/data": "Data", "/": "System" };

/** Return the values of samples by one label. */
function by(samples, label) {
  return new Map((samples ?? []).map(({ labels, value }) => [labels[label], value]));
}

function only(samples, label, value) {
  return (samples ?? []).filter(({ labels }) => labels[label] === value);
}

function holders(samples) {
  return (samples ?? []).filter(({ value }) => value === 1).map(({ labels }) => labels.node).sort();
}

/** Return the nodes with their state, what they do for the site, and each service. */
export function nodes(now) {
  const reached = by(now.node, "node");
  const drained = by(now.drained, "node");
  const facts = by(now.facts, "node");
  const storing = (now.stores ?? []).filter(({ value }) => value === 1).map(({ labels }) => labels.server);
  const roles = [
    ["stores", storing],
    ["has the address", holders(now.address)],
    ["leads the database", holders(now.database)],
    ["leads the archive", holders(now.archive)],
    ["leads etcd", holders(now.etcd)],
  ];
  return [...new Set([...reached.keys(), ...facts.keys()])].sort().map((name) => {
    const off = reached.get(name) !== 1;
    const old = !off && !((facts.get(name) ?? Infinity) <= FACTS_OLD_S);
    const services = only(now.unit, "node", name)
      .map(({ labels, value }) => ({ unit: labels.unit, state: off || old ? "unknown" : value === 1 ? "good" : "bad" }))
      .sort((one, other) => one.unit.localeCompare(other.unit));
    const stopped = services.filter(({ state }) => state === "bad").length;
    let state = "good";
    let says = services.length ? `all ${services.length} services run` : "no service is known";
    if (off) [state, says] = ["bad", "does not answer"];
    else if (old) [state, says] = ["warn", "its facts are old"];
    else if (drained.get(name) === 1) [state, says] = ["note", "drained"];
    else if (stopped) [state, says] = ["warn", `${stopped} of ${services.length} services do not run`];
    else if (!services.length) state = "unknown";
    return { name, state, says, drained: drained.get(name) === 1, services, does: roles.filter(([, of]) => of.includes(name)).map(([what]) => what) };
  });
}

/** Return who does what there has to be exactly one of. */
export function leads(now) {
  const storing = (now.stores ?? []).filter(({ value }) => value === 1).map(({ labels }) => labels.server);
  const usable = (backend) => only(now.usable, "backend", backend).filter(({ value }) => value === 1).length;
  // Nodes that are asked say 0 or 1. Without any answer it is not known, which is not the same as nobody.
  const one = (what, who, samples) => ({
    what,
    who: who.length ? who.join(", ") : samples?.length ? "nobody" : "not known",
    state: !samples?.length ? "unknown" : who.length === 1 ? "good" : "bad",
  });
  const stores = one("Stores", storing, now.stores);
  // The balancers choose with the first image.
  if (now.stores !== null && !storing.length) Object.assign(stores, { who: "not chosen yet", state: "note" });
  if (now.usable?.length && !usable("store_dicom")) Object.assign(stores, { who: "no service is usable", state: "bad" });
  const answers = usable("query_dicom");
  const asked = Boolean(now.usable?.length);
  return [
    one("Virtual address", holders(now.address), now.address),
    stores,
    { what: "Answers queries", who: asked ? `${answers} services` : "not known", state: !asked ? "unknown" : answers ? "good" : "bad" },
    one("Leads the database", holders(now.database), now.database),
    one("Leads the archive", holders(now.archive), now.archive),
    one("Leads etcd", holders(now.etcd), now.etcd),
  ];
}

/** Return the alerts that people act on, the worst first; whether the Watchdog is there; and the site, which each alert names. */
export function alerts(found) {
  const rank = { page: 0, ticket: 1 };
  const listed = found.alerts
    .filter(({ labels }) => labels.severity !== "watchdog")
    .map(({ labels, annotations, since, held }) => ({
      name: labels.alertname,
      severity: labels.severity,
      where: labels.node ?? labels.destination ?? "",
      summary: annotations.summary ?? "",
      runbook: annotations.runbook?.match(/([\w-]+)\.md$/)?.[1] ?? null,
      since,
      held,
      state: held ? "note" : labels.severity === "page" ? "bad" : "warn",
    }))
    .sort((one, other) => Boolean(one.held) - Boolean(other.held) || (rank[one.severity] ?? 2) - (rank[other.severity] ?? 2) || one.since.localeCompare(other.since));
  const watchdog = found.alerts.some(({ labels }) => labels.severity === "watchdog");
  return { listed, watchdog, site: found.alerts.find(({ labels }) => labels.site)?.labels.site ?? null, source: found.source };
}

/** Return each objective with what is left of its budget of 30 days. */
export function objectives(promised, now, slow) {
  const left = by(slow?.left, "objective");
  const bad = by(now.bad, "objective");
  return promised.map(({ name, about, target }) => {
    const rest = left.get(name);
    const state = rest === undefined ? "unknown" : rest <= 0 ? "bad" : rest < 0.25 ? "warn" : "good";
    return { name, about, target: percent(target), left: rest, hour: bad.has(name) ? percent(1 - bad.get(name)) : now.bad ? "no tries" : "not known", state };
  });
}

/** Return how long images wait for each destination, and how far each standby is behind; null for what is not known. */
export function delivery(now) {
  const oldest = by(now.oldest, "destination");
  const names = new Set([...oldest.keys(), ...(now.waiting ?? []).map(({ labels }) => labels.destination)]);
  const destinations = [...names].sort().map((name) => {
    const tasks = by(only(now.waiting, "destination", name), "state");
    const dead = tasks.get("dead") ?? 0;
    const waiting = [...tasks].reduce((sum, [state, count]) => sum + (state === "dead" ? 0 : count), 0);
    const age = oldest.get(name) ?? 0;
    return { name, waiting, dead, age: waiting ? duration(age) : "–", state: dead || age > DELIVERY_S ? "warn" : "good" };
  });
  const lead = holders(now.database);
  const standbys = (now.lag ?? [])
    .filter(({ labels }) => !lead.includes(labels.node))
    .map(({ labels, value }) => ({ name: labels.node, lag: duration(value), state: value > LAG_S ? "warn" : "good" }))
    .sort((one, other) => one.name.localeCompare(other.name));
  return { destinations: now.oldest && now.waiting ? destinations : null, standbys: now.lag ? standbys : null };
}

/** Return each place with its free space, and the day on which it is full if it goes on as in the last seven days. */
export function space(now, slow, time) {
  const key = ({ labels }) => `${labels.node} ${labels.place}`;
  const sizes = new Map((now.size ?? []).map((sample) => [key(sample), sample.value]));
  const slopes = new Map((slow?.slope ?? []).map((sample) => [key(sample), sample.value]));
  const order = Object.keys(PLACES);
  return (now.free ?? [])
    .map((sample) => {
      const size = sizes.get(key(sample));
      const slope = slopes.get(key(sample));
      const share = sample.value / size;
      const days = slope < 0 ? sample.value / -slope / DAY_S : Infinity;
      let state = "good";
      if (share < 0.04) state = "bad";
      else if (share < 0.1 || days < SOON_DAYS) state = "warn";
      const full = slope === undefined ? "known after a day" : days > 3650 ? "not in sight" : null;
      return {
        node: sample.labels.node, place: PLACES[sample.labels.place] ?? sample.labels.place, at: order.indexOf(sample.labels.place),
        free: bytes(sample.value), size: bytes(size), share, full, fullAt: full ? null : time + days * DAY_S, days: Math.floor(days), state,
      };
    })
    .filter(({ share }) => Number.isFinite(share))
    .sort((one, other) => (one.at < 0) - (other.at < 0) || one.at - other.at || one.node.localeCompare(other.node));
}

/** Return each check of the copies on each node: when it ended, and what it found. */
export function checks(now, time) {
  const key = ({ labels }) => `${labels.node} ${labels.check}`;
  const of = (samples) => new Map((samples ?? []).map((sample) => [key(sample), sample.value]));
  const [on, open, failed] = [of(now.on), of(now.open), of(now.failed)];
  return (now.checked ?? [])
    .map((sample) => {
      const at = key(sample);
      const age = time - sample.value;
      const found = { node: sample.labels.node, check: sample.labels.check, ago: `${duration(Math.max(age, 0))} ago`, says: "good", state: "good" };
      if (on.get(at) === 0) return { ...found, says: "off", state: "note" };
      if (open.get(at) > 0) return { ...found, says: `${open.get(at)} faults remain`, state: "bad" };
      if (failed.get(at) === 1) return { ...found, says: "did not look at everything", state: "warn" };
      if (age > CHECK_S) return { ...found, says: "overdue", state: "warn" };
      return found;
    })
    .sort((one, other) => one.check.localeCompare(other.check) || one.node.localeCompare(other.node));
}

/** Return the last run of each drill, failed ones first, then the latest. */
export function drills(now, time) {
  if (!now.drilled) return null;
  const [passed, outage, deadline] = [now.passed, now.outage, now.deadline].map((samples) => by(samples, "drill"));
  return now.drilled
    .map(({ labels, value }) => ({
      drill: labels.drill,
      age: time - value,
      ago: `${duration(Math.max(time - value, 0))} ago`,
      outage: outage.has(labels.drill) ? `${outage.get(labels.drill)} s of ${deadline.get(labels.drill)} s` : "not known",
      says: passed.get(labels.drill) === 1 ? "passed" : "broke a promise",
      state: passed.get(labels.drill) === 1 ? "good" : "bad",
    }))
    .sort((one, other) => (one.state === "good") - (other.state === "good") || one.age - other.age);
}

/** Return the one line that says how the site is, and the reasons below it. */
export function verdict({ age, now, found, sections }) {
  if (!(age <= OLD_S)) {
    return { state: "unknown", says: "Not known: no current data", why: Number.isFinite(age) ? ["Below is what was known last."] : [] };
  }
  const acting = found ? found.listed.filter(({ held }) => !held) : [];
  const pages = acting.filter(({ severity }) => severity === "page");
  const seen = [
    ...sections.leads.filter(({ state }) => state === "bad").map(({ what, who }) => `${what}: ${who}`),
    ...sections.nodes.filter(({ state }) => state === "bad" || state === "warn").map(({ name, says }) => `${name} ${says}`),
  ];
  const blind = [];
  if (!found) blind.push("Alerts are not known.");
  else if (found.source === "prometheus") blind.push("No Alertmanager answers: alerts reach nobody.");
  else if (!found.watchdog) blind.push("The Watchdog is missing: alerts may not arrive.");
  for (const [name, what] of [["prometheus", "Prometheus"], ["alertmanager", "Alertmanager"]]) {
    const off = (now[name] ?? []).filter(({ value }) => value !== 1).map(({ labels }) => labels.node);
    if (off.length) blind.push(`${what} of ${off.join(", ")} is off; the other one goes on.`);
  }
  // What is kept away from the site is of no help to callers now, but it is what is left when the site is lost.
  const away = [
    ...(sections.elsewhere.site ?? []).filter(({ state }) => state === "bad" || state === "warn").map(({ what, says }) => `${what} ${says}.`),
    ...(sections.elsewhere.backups ?? []).filter(({ state }) => state === "warn").map(({ name, says }) => `Backups of ${name}: ${says}.`),
  ];
  const drained = sections.nodes.filter((it) => it.drained).map(({ name }) => `${name} is drained.`);
  const ahead = [
    ...sections.objectives.filter(({ left }) => left < 0.25).map(({ about, left }) => `${about}: ${left > 0 ? `${percent(left)} of the budget left` : "the budget is used up"}`),
    ...sections.space.filter(({ state }) => state === "bad" || state === "warn").map(({ place, node, share, days }) => `${place} on ${node}: ${percent(share)} free${days < SOON_DAYS ? `, full in ${days} d` : ""}`),
  ];
  const why = [...seen, ...away, ...blind, ...drained, ...ahead];
  if (pages.length) return { state: "bad", says: `Act now: ${pages[0].summary}`, why: pages.length > 1 ? [`${pages.length} alerts page.`, ...why] : why };
  if (sections.leads.some(({ state }) => state === "bad")) return { state: "bad", says: "Act now: the site can't do all of its work", why };
  if (acting.length || seen.length || away.length || blind.length) {
    const count = acting.length || seen.length + away.length + blind.length;
    return { state: "warn", says: `The site works; ${count} ${count === 1 ? "thing" : "things"} to look at`, why };
  }
  const unknown = Object.values(now).includes(null) || sections.leads.some(({ state }) => state === "unknown") || !sections.nodes.length;
  if (unknown) return { state: "unknown", says: "The site seems to work; some answers are missing", why };
  return { state: "good", says: "All is well", why };
}
