// Puts what the model says on the page. A part whose content is the same is left alone: focus and screen readers stay where they are.

import { STATES } from "./model.js";
import { clock, day, duration, percent } from "./text.js";

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A state as a sign and a word; a screen reader gets the word only. */
function mark(state, word = STATES[state].word) {
  return el("span", { class: `mark ${state}` }, el("span", { class: "sign", "aria-hidden": "true" }, STATES[state].sign), ` ${word}`);
}

function same(place, content) {
  const text = JSON.stringify(content);
  if (place.dataset.shown === text) return true;
  place.dataset.shown = text;
  return false;
}

function part(id, content, make) {
  const place = document.querySelector(`#${id} > div`);
  if (!same(place, content)) place.replaceChildren(...make(content));
}

function text(id, words) {
  const place = document.getElementById(id);
  if (place.textContent !== words) place.textContent = words;
}

/** A table. Its roles are named: on a phone its rows are blocks, which would take them away. */
function table(caption, heads, rows) {
  const head = el("tr", { role: "row" }, ...heads.map((it) => el("th", { scope: "col", role: "columnheader" }, it)));
  const body = rows.map(([first, ...rest]) =>
    el("tr", { role: "row" }, el("th", { scope: "row", role: "rowheader" }, first), ...rest.map((it, number) => el("td", { role: "cell", "data-head": heads[number + 1] }, it))),
  );
  return el("table", { role: "table" }, el("caption", { class: "hidden" }, caption), el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, ...body));
}

export function header({ verdict, age, old, failure, at, site }) {
  const { sign } = STATES[verdict.state];
  const place = document.getElementById("verdict");
  document.body.dataset.state = verdict.state;
  document.body.classList.toggle("old", old);
  if (!same(place, verdict)) {
    place.replaceChildren(el("span", { "aria-hidden": "true" }, sign), ` ${verdict.says}`);
    document.getElementById("why").replaceChildren(...verdict.why.flatMap((line) => [el("span", {}, line), " "]));
    document.title = `${sign} ${verdict.says}`;
  }
  if (site) text("site", site);
  const known = Number.isFinite(age);
  text("stale", old ? `${known ? `The data is older than two minutes: from ${clock(at)}.` : "No data yet."} ${failure ? `${failure}.` : ""} Use hapacs status.` : "");
  text("age", known ? `Data from ${clock(at)}${age > 60 ? `, ${duration(age)} old` : ""}${failure && !old ? `, ${failure}` : ""}` : "");
}

/** Say that the page itself does not work. */
export function broken(why) {
  text("verdict", `? This page does not work: ${why}`);
  text("stale", "Reload it, and use hapacs status meanwhile.");
}

export function alerts(found) {
  part("alerts", found, () => {
    if (!found) return [el("p", {}, mark("unknown", "Neither Alertmanager nor Prometheus says which alerts there are."))];
    const notes = found.source === "prometheus" ? [el("p", {}, mark("warn", "From Prometheus: no Alertmanager answers, and silences are not known."))] : [];
    if (!found.listed.length) return [...notes, el("p", {}, mark("good", "None"))];
    const items = found.listed.map((it) =>
      el(
        "li",
        { class: it.state },
        mark(it.state, it.held || (it.severity === "page" ? "act now" : "ticket")),
        el("strong", {}, ` ${it.name}${it.where ? `: ${it.where}` : ""}`),
        el("p", {}, it.summary),
        el("p", { class: "small" }, `Since ${day(Date.parse(it.since) / 1000)} ${clock(Date.parse(it.since) / 1000)} `, it.runbook ? el("a", { href: `runbooks.html#${it.runbook}` }, `What to do: ${it.name}`) : null),
      ),
    );
    return [...notes, el("ul", { class: "alerts" }, ...items)];
  });
}

export function nodes({ nodes: listed, leads }) {
  part("nodes", [listed, leads], () => [
    el("dl", { class: "leads" }, ...leads.map(({ what, who, state }) => el("div", {}, el("dt", {}, what), el("dd", {}, mark(state, who))))),
    ...(listed.length ? [] : [el("p", {}, mark("unknown", "No node is known"))]),
    el("div", { class: "nodes" }, ...listed.map(node)),
  ]);
}

function node({ name, state, says, does, services }) {
  const wrong = services.filter((it) => it.state === "bad");
  const item = (it) => el("li", { class: it.state }, mark(it.state, it.unit), it.state === "bad" ? " does not run" : it.state === "unknown" ? el("span", { class: "hidden" }, " is not known") : el("span", { class: "hidden" }, " runs"));
  return el(
    "article",
    { class: state, "aria-label": name },
    el("h3", {}, name),
    el("p", {}, mark(state, says)),
    does.length ? el("ul", { class: "does" }, ...does.map((what) => el("li", {}, what))) : null,
    wrong.length ? el("ul", { class: "services" }, ...wrong.map(item)) : null,
    services.length ? details(`services-${name}`, `Each service (${services.length})`, el("ul", { class: "services" }, ...services.map(item))) : null,
  );
}

/** A part that stays open or closed when the rest is made again; on a wall it is open. */
function details(key, summary, content) {
  const made = el("details", {}, el("summary", {}, summary), content);
  made.open = opened.get(key) ?? matchMedia("(min-width: 64rem)").matches;
  made.addEventListener("toggle", () => opened.set(key, made.open));
  return made;
}
const opened = new Map();

export function objectives(listed) {
  part("objectives", listed, () => [
    table(
      "Objectives over 30 days",
      ["Objective", "Promised", "Last hour", "Budget left"],
      listed.map(({ about, target, hour, left, state }) => {
        if (left === undefined) return [about, target, hour, mark("unknown")];
        const word = left <= 0 ? `used up (${percent(left)})` : percent(left);
        return [about, target, hour, el("span", { class: "budget" }, mark(state, word), bar(Math.max(0, left), state))];
      }),
    ),
  ]);
}

function bar(share, state) {
  const made = el("meter", { min: "0", max: "1", class: state, "aria-hidden": "true" });
  made.value = Math.min(1, share);
  return made;
}

export function delivery(found) {
  const rows = {
    destinations: (it) => [it.name, String(it.waiting), mark(it.state, it.age), it.dead ? mark("warn", String(it.dead)) : "0"],
    standbys: (it) => [it.name, mark(it.state, it.lag)],
  };
  const shown = (what, caption, heads, none) => {
    if (found[what] === null) return el("p", {}, mark("unknown", `${caption}: not known`));
    return found[what].length ? table(caption, heads, found[what].map(rows[what])) : el("p", {}, none);
  };
  part("delivery", found, () => [
    shown("destinations", "Deliveries", ["Destination", "Waiting", "Oldest waits", "Given up"], "This site delivers to no destination, or has not delivered yet."),
    shown("standbys", "Standbys of the database", ["Standby", "Behind the leader"], "The database has no standby."),
  ]);
}

export function elsewhere(found) {
  part("elsewhere", found, ({ site, backups }) => [
    site ? el("dl", { class: "leads" }, ...site.map(({ what, says, state }) => el("div", {}, el("dt", {}, what), el("dd", {}, mark(state, says))))) : el("p", {}, "This site has no other one."),
    backups === null
      ? el("p", {}, mark("unknown", "Backups: not known"))
      : backups.length
        ? table("Backups of databases", ["Database", "Where", "Newest backup", "Restored as a trial", "State"], backups.map((it) => [it.name, it.where, it.newest, it.rehearsed, mark(it.state, it.says)]))
        : el("p", {}, mark("note", "No backup of a database is made here.")),
  ]);
}

export function space(listed) {
  part("space", listed, () =>
    listed.length
      ? [
          table(
            "Free space",
            ["Place", "Free", "Of", "Full"],
            listed.map(({ node: at, place, free, size, share, full, fullAt, days, state }) => [
              `${place} on ${at}`,
              el("span", { class: "budget" }, mark(state, `${percent(share)}, ${free}`), bar(share, state)),
              size,
              full ?? `${day(fullAt)}, in ${days} d`,
            ]),
          ),
          el("p", { class: "small" }, "The day on which it is full if it goes on as in the last seven days. DAS is evicted before it is full."),
        ]
      : [el("p", {}, mark("unknown"))],
  );
}

export function checks(listed) {
  part("checks", listed, () =>
    listed.length
      ? [table("Checks of the copies", ["Check", "Node", "Ended", "Result"], listed.map((it) => [it.check, it.node, it.ago, mark(it.state, it.says)]))]
      : [el("p", {}, mark("unknown", "No check is known"))],
  );
}

export function drills(listed) {
  part("drills", listed, () => {
    if (listed === null) return [el("p", {}, mark("unknown"))];
    if (!listed.length) return [el("p", {}, "No drill was run on this site.")];
    const failed = listed.filter(({ state }) => state === "bad").length;
    const newest = listed.reduce((one, other) => (other.age < one.age ? other : one));
    const rows = listed.map((it) => [it.drill, it.ago, it.outage, mark(it.state, it.says)]);
    return [
      el("p", {}, failed ? mark("bad", `${failed} of ${listed.length} broke a promise`) : mark("good", `${listed.length} of ${listed.length} passed their last run`), `, the newest ${newest.ago}`),
      details("drills", "Each drill", table("Last runs of drills", ["Drill", "Ended", "Longest time without a Success", "Result"], rows)),
      el("p", { class: "small" }, "The reports are on the controller: hapacs drill report."),
    ];
  });
}
