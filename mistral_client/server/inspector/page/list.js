// The list of calls, newest first; attempts at the same call share a line, that of the latest.

import { arrange, byId, element } from "./dom.js";
import { bar } from "./waterfall.js";
import { duration, isFault, kind, number, perSecond, speed, state, time, tokens } from "./words.js";

const rows = new Map();

/** All attempts at the same call, oldest first. */
export const attempts = (calls, call) =>
  call.attempts ? [...calls.values()].filter((other) => other.attempts === call.attempts) : [call];

export function showList(calls, chosen) {
  const words = byId("search").value.toLowerCase();
  const which = byId("kinds").value;
  const wanted = (call) =>
    (which === "all" || (which === "faults" ? isFault(call) : call.outcome === "")) &&
    [kind(call), call.model, call.preview, call.agent, call.status, call.path].join(" ").toLowerCase().includes(words);
  const seen = new Set();
  const shown = [];
  for (const call of [...calls.values()].reverse()) {
    if (call.attempts && seen.has(call.attempts)) continue;
    seen.add(call.attempts);
    const all = attempts(calls, call);
    if (all.some(wanted)) shown.push(row(call, all, all.some((attempt) => attempt.number === chosen)));
  }
  for (const number of rows.keys()) if (!calls.has(number)) rows.delete(number);
  arrange(byId("list"), shown);
  byId("empty").hidden = calls.size > 0;
}

function row(call, all, isChosen) {
  let item = rows.get(call.number);
  if (!item) rows.set(call.number, (item = element("li")));
  const looks = JSON.stringify([call, all.length, isChosen]);
  if (item.looks !== looks) {
    item.looks = looks;
    const focused = item.contains(document.activeElement);
    item.replaceChildren(link(call, all, isChosen));
    if (focused) item.firstChild.focus();
  }
  return item;
}

function link(call, all, isChosen) {
  const [look, word] = state(call);
  const rate = speed(call);
  const facts = [tokens(call), rate === null ? "" : perSecond(rate), duration(call.now)].filter(Boolean);
  const badges = [
    ...(call.times > 1 ? [`× ${number(call.times)}`] : []),
    ...(all.length > 1 ? [`${all.length} attempts`] : []),
    ...(call.label ? ["asked here"] : []),
  ];
  const made = element(
    "a",
    { href: `#${call.number}`, className: look },
    element("span", { className: "first" },
      element("b", { className: `status ${look}` }, word),
      element("span", { className: "kind" }, kind(call)),
      element("span", { className: "model" }, call.model),
      element("time", {}, time(call.at))),
    element("span", { className: "preview" }, call.preview || call.agent || " "),
    element("span", { className: "second" },
      call.outcome === "failed" ? element("span", { className: "why" }, call.fault) : bar(call),
      ...badges.map((badge) => element("span", { className: "badge" }, badge)),
      element("span", { className: "facts" }, facts.join(" · "))),
  );
  if (isChosen) made.setAttribute("aria-current", "true");
  return made;
}
