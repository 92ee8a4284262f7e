// Asks Prometheus and Alertmanager through the balancer, which takes these paths only.

const LIMIT_MS = 10_000;

/** An answer that the page can't use, with what was asked. */
export class ApiError extends Error {}

async function get(path) {
  let answer;
  try {
    answer = await fetch(path, { signal: AbortSignal.timeout(LIMIT_MS), cache: "no-store", credentials: "same-origin" });
  } catch {
    throw new ApiError("no answer");
  }
  if (!answer.ok) throw new ApiError(`answer ${answer.status}`);
  try {
    return await answer.json();
  } catch {
    throw new ApiError("an answer that is no JSON");
  }
}

async function data(path) {
  const answer = await get(path);
  if (answer?.status !== "success") throw new ApiError(answer?.error ?? "an answer without success");
  return answer.data;
}

/** Return the samples of an expression: `[{labels, value}]`. */
export async function instant(expression) {
  const found = await data(`/api/v1/query?${new URLSearchParams({ query: expression })}`);
  if (found.resultType === "scalar") return [{ labels: {}, value: Number(found.result[1]) }];
  return found.result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
}

/** Return the series of an expression over time: `[{labels, points: [[time, value]]}]`, times in seconds. */
export async function range(expression, { start, end, step }) {
  const found = await data(`/api/v1/query_range?${new URLSearchParams({ query: expression, start, end, step })}`);
  return found.result.map(({ metric, values }) => ({
    labels: metric,
    points: values.map(([time, value]) => [time, Number(value)]),
  }));
}

/** Return the answers of several expressions by their names. An expression that failed is null; all failed: an error. */
export async function several(expressions) {
  const names = Object.keys(expressions);
  const settled = await Promise.allSettled(names.map((name) => instant(expressions[name])));
  if (names.length && settled.every(({ status }) => status === "rejected")) throw settled[0].reason;
  return Object.fromEntries(names.map((name, number) => [name, settled[number].value ?? null]));
}

/** Return alerts, and who was asked: Alertmanager knows what is silenced, Prometheus is asked when none answers. */
export async function alerts() {
  try {
    const found = await get("/api/v2/alerts");
    return {
      source: "alertmanager",
      alerts: found.map((it) => ({
        labels: it.labels,
        annotations: it.annotations,
        since: it.startsAt,
        held: it.status.state === "suppressed" ? (it.status.silencedBy.length ? "silenced" : "part of another alert") : "",
      })),
    };
  } catch {
    const found = (await data("/api/v1/alerts")).alerts.filter((it) => it.state === "firing");
    return {
      source: "prometheus",
      alerts: found.map(({ labels, annotations, activeAt }) => ({ labels, annotations, since: activeAt, held: "" })),
    };
  }
}

/** Return a file that came with the page. */
export function file(name) {
  return get(name);
}
