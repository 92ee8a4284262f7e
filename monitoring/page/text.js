// Numbers and times as people read them.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const STEPS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
];

/** Write a number of bytes. */
export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  let value = Math.abs(count);
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${count < 0 ? "-" : ""}${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Write a number of seconds, in its largest unit. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  for (const [size, unit] of STEPS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return seconds > 0 && seconds < 10 ? `${Number(seconds.toPrecision(2))} s` : `${Math.round(seconds)} s`;
}

/** Write a share as a percentage that never rounds to 100 % or 0 % what is less or more. */
export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const value = share * 100;
  const digits = Math.abs(value) < 10 || (value > 90 && value < 100) ? 1 : 0;
  const shown = value.toFixed(digits);
  if (value < 100 && Number(shown) === 100) return "99.9 %";
  if (value > 0 && Number(shown) === 0) return "0.1 %";
  return `${shown.replace(/\.0$/, "")} %`;
}

/** Write a time of day in the zone of whoever reads. */
export function clock(seconds) {
  // Without these, Chromium leaves the first 0 out when a zone is shown.
  const digits = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", { ...digits, timeZoneName: "short" });
}

/** Write a day. */
export function day(seconds) {
  return new Date(seconds * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}
