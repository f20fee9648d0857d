// Where the time of a call went.

import { element } from "./dom.js";
import { duration, number, perSecond, spans, speed } from "./words.js";

export function bar(call) {
  const total = Math.max(call.now, 0.1);
  const parts = spans(call).map(([, look, from, until]) => {
    const part = element("span", { className: `span ${look}` });
    part.style.left = `${(100 * from) / total}%`;
    part.style.width = `${(100 * (until - from)) / total}%`;
    return part;
  });
  return element("span", { className: "waterfall", "aria-hidden": "true" }, ...parts);
}

export function legend(call) {
  const parts = spans(call).map(([name, look, from, until]) => {
    const taken = [element("dt", {}, element("i", { className: look }), name), element("dd", {}, duration(until - from))];
    const count = { prompt: call.prompt_tokens, writing: call.answer_tokens }[look];
    const rate = look === "writing" ? speed(call) : until > from ? (1000 * count) / (until - from) : null;
    if (count) taken.push(element("dd", { className: "rate" }, `${number(count)} tokens${rate === null ? "" : `, ${perSecond(rate)}`}`));
    return element("div", {}, ...taken);
  });
  return element("dl", { className: "legend" }, ...parts);
}
