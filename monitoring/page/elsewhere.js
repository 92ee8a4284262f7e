// What is kept away from this site: copies at the other site, and backups of databases.

import { duration } from "./text.js";

const BEHIND_S = 900;
const SILENT_S = 300;
const WATCHDOG_S = 600;
const COMPARED_S = 3 * 86_400;
const BACKUP_S = 30 * 3600;
const REHEARSED_S = 9 * 86_400;

function value(samples) {
  return samples?.[0]?.value;
}

/** A line about an age that must not be above a limit; null for what this site does not have. */
function aged(what, samples, limit, says) {
  if (samples === null) return { what, says: "not known", state: "unknown" };
  const age = value(samples);
  if (age === undefined) return null;
  return { what, says: says(duration(Math.max(age, 0))), state: age > limit ? "warn" : "good" };
}

/** Return what this site is to the other one, whether that one answers and is watched, and what it lacks; null without one. */
export function otherSite(now) {
  if (now.standing === null) return [{ what: "This site", says: "not known", state: "unknown" }];
  const states = now.standing.filter((one) => one.value === 1).map(({ labels }) => labels.state);
  if (!states.length) return null;
  const fenced = states.includes("fenced");
  const images = value(now.lacking);
  const differing = value(now.differing);
  return [
    { what: "This site", says: fenced ? "is fenced: it refuses images of modalities, because the other site leads" : states.join(", "), state: fenced ? "bad" : "good" },
    aged("The other site was heard", now.heard, SILENT_S, (age) => `${age} ago`),
    aged("Its Watchdog came", now.watched, WATCHDOG_S, (age) => `${age} ago`),
    aged("The other site lacks", now.behind, BEHIND_S, (age) => (images ? `${images} images, the oldest for ${age}` : images === 0 ? "nothing" : `images for ${age}`)),
    aged("Both sites were compared", now.compared, COMPARED_S, (age) => `${age} ago`),
    differing > 0 ? { what: "The comparison found", says: `${differing} images that differ`, state: "warn" } : null,
  ].filter((line) => line !== null);
}

/** Return each database whose backups are kept here, or whose WAL leaves from here; null when it is not known. */
export function backups(now) {
  if (now.saved === null || now.rehearsed === null || now.unsaved === null) return null;
  const of = (samples, stanza) => samples.find(({ labels }) => labels.stanza === stanza)?.value;
  // The time of what never happened is 0.
  const past = (age) => (age > 10 * 365 * 86_400 ? "never" : `${duration(Math.max(age, 0))} ago`);
  const kept = now.saved.map(({ labels: { stanza }, value: age }) => {
    const rehearsed = of(now.rehearsed, stanza);
    const late = age > BACKUP_S || rehearsed > REHEARSED_S;
    return { name: stanza, where: "kept here", newest: past(age), rehearsed: rehearsed === undefined ? "not known" : past(rehearsed), says: late ? "overdue" : "good", state: late ? "warn" : "good" };
  });
  const sent = now.unsaved.map(({ labels: { stanza }, value: bytes }) => {
    const late = bytes > 2 ** 30;
    return { name: stanza, where: "of this site", newest: "–", rehearsed: "–", says: late ? "its WAL does not leave" : "its WAL leaves", state: late ? "warn" : "good" };
  });
  return [...sent, ...kept].sort((one, other) => one.name.localeCompare(other.name));
}
