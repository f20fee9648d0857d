// Text with its tokens marked: a prompt by their borders, an answer by their probabilities.

import { element } from "./dom.js";

/** White space as something to see, where it is a token's whole text. */
const visible = (text) => (/^\s+$/.test(text) ? text.replace(/ /g, "·").replace(/\n/g, "↵\n").replace(/\t/g, "→\t") : text.replace(/\n/g, "↵\n"));

/** Natural logarithm of how unlikely a token is to be shaded in full: one in a thousand. */
const FULL = Math.log(1000);

const quoted = (text) => JSON.stringify(text);
const percent = (logprob) => {
  const value = 100 * Math.exp(logprob);
  return value >= 10 ? `${Math.round(value)} %` : value >= 0.1 ? `${value.toFixed(1)} %` : "< 0.1 %";
};

/** The tokens of a prompt, as `[text, ids, is control]`. */
export function promptTokens(prompt) {
  return readable(
    "The prompt’s tokens",
    prompt.map(([text, ids, control], at) => {
      const token = element("span", { className: `token ${control ? "control" : at % 2 ? "odd" : "even"}` }, visible(text));
      const name = control ? "control token" : ids.length > 1 ? `${ids.length} tokens` : "token";
      token.told = [`${quoted(text)}`, `${name} ${ids.join(" ")}`];
      return token;
    }),
  );
}

/** The tokens of pieces of an answer, as `[answer, milliseconds, text, tokens]`. */
export function answerTokens([, milliseconds, text, tokens]) {
  if (!tokens.length) return [document.createTextNode(text)];
  const whole = tokens.map(([token]) => token).join("") === text;
  // Where characters are made of several tokens, or a stop text was held back, the least likely one counts for all.
  const shown = whole ? tokens.map((token) => [token[0], [token]]) : [[text, tokens]];
  return shown.map(([part, of]) => {
    const least = Math.min(...of.map(([, logprob]) => logprob));
    const token = element("span", { className: "token likely" }, part);
    token.style.setProperty("--doubt", Math.min(-least / FULL, 1).toFixed(3));
    token.told = of.flatMap(([name, logprob, top]) => [
      `${quoted(name)} ${percent(logprob)}`,
      ...top.filter(([other]) => other !== name).map(([other, value]) => `or ${quoted(other)} ${percent(value)}`),
    ]);
    token.told.push(`after ${(milliseconds / 1000).toFixed(2)} s`);
    return token;
  });
}

/** A text of tokens that can be looked at one by one: by pointer, touch, or with the arrow keys. */
export function readable(name, tokens) {
  const told = element("p", { className: "told", role: "status" });
  const text = element("div", { className: "tokens", tabIndex: 0, role: "group", "aria-label": `${name}; arrow keys tell of each` }, ...tokens);
  let chosen = null;
  const choose = (token) => {
    chosen?.classList.remove("chosen");
    chosen = token;
    token?.classList.add("chosen");
    told.replaceChildren(...(token?.told ?? []).map((words) => element("span", {}, words)));
  };
  const at = (event) => event.target.closest?.(".token");
  text.addEventListener("pointerover", (event) => at(event) && choose(at(event)));
  text.addEventListener("click", (event) => choose(at(event)));
  text.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...text.querySelectorAll(".token")];
    const next = all[chosen === null ? 0 : all.indexOf(chosen) + step];
    if (next) {
      choose(next);
      next.scrollIntoView({ block: "nearest" });
    }
  });
  return { text, told };
}
