// One call in full: where its time went, the conversation, the prompt as the model saw it, the request.

import { Ask, asked, leave } from "./ask.js";
import { byId, element } from "./dom.js";
import { parsed, pretty } from "./json.js";
import { attempts } from "./list.js";
import { curl, python } from "./snippets.js";
import { answerTokens, promptTokens, readable } from "./tokens.js";
import { bar, legend } from "./waterfall.js";
import { kind, number, state, time } from "./words.js";

const TABS = ["Conversation", "Prompt", "Request", "Ask again"];
let lastTab = TABS[0];
asked.addEventListener("asked", () => (lastTab = TABS[0]));

export class Detail {
  /** known: body, error, prompt and so on, as the server tells of a call. */
  constructor(known, withKey) {
    this.number = known.call.number;
    this.known = known;
    this.pieces = 0;
    this.withKey = withKey;
    this.head = element("div", { className: "head" });
    this.tabs = element("div", { className: "tabs", role: "tablist", onkeydown: (event) => this.#turn(event) });
    this.panel = element("div", { className: "panel", role: "tabpanel", id: "panel", tabIndex: -1 });
    for (const name of TABS) {
      if (name === "Ask again" && !known.body) continue;
      this.tabs.append(element("button", { type: "button", role: "tab", "aria-controls": "panel", id: `tab-${name.split(" ")[0]}`, onclick: () => this.open(name) }, name));
    }
    byId("call").replaceChildren(this.head, this.tabs, this.panel);
    byId("call").hidden = false;
    byId("nothing").hidden = true;
    this.open([...this.tabs.children].some((tab) => tab.textContent === lastTab) ? lastTab : TABS[0]);
  }

  /** Something is new: the call's line, and pieces of the answer from some number on. */
  update(calls, call, told = null) {
    this.known.call = call;
    const all = attempts(calls, call);
    const looks = JSON.stringify([call, all.map((one) => [one.number, state(one)])]);
    if (this.looks !== looks) this.#showHead(all);
    this.looks = looks;
    if (told === null) return;
    const known = this.known.reply;
    known.push(...told.reply.slice(known.length - told.from));
    if ("error" in told) Object.assign(this.known, { error: told.error, prompt: told.prompt, body: told.body });
    if (this.tab === "Conversation") this.#grow();
    if (this.tab === "Prompt" && !this.promptShown) this.open("Prompt");
  }

  open(name) {
    lastTab = this.tab = name;
    for (const tab of this.tabs.children) {
      const chosen = tab.textContent === name;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) this.panel.setAttribute("aria-labelledby", tab.id);
    }
    this.pieces = 0;
    this.answers = [];
    const show = { Conversation: this.#conversation, Prompt: this.#prompt, Request: this.#request, "Ask again": this.#again };
    this.panel.replaceChildren(...show[name].call(this));
    if (name === "Conversation") this.#grow();
  }

  #turn(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...this.tabs.children];
    const next = all.at((all.findIndex((tab) => tab.textContent === this.tab) + step) % all.length);
    this.open(next.textContent);
    next.focus();
  }

  #showHead(all) {
    const { call, body } = this.known;
    const [look, word] = state(call);
    const program = call.method === "GET" || body ? python(call, body) : null;
    const copies = call.method === "GET" || body ? [copy("Copy curl", () => curl(call, body, this.withKey))] : [];
    if (program !== null) copies.push(copy("Copy Python", () => program));
    const stop = call.outcome === "" ? leave(call.label) : undefined;
    if (stop) copies.unshift(element("button", { type: "button", className: "primary", onclick: stop }, "Stop"));
    const focused = this.head.contains(document.activeElement) ? document.activeElement.textContent : null;
    this.head.replaceChildren(
      element("div", { className: "title" },
        element("a", { className: "back", href: "#", "aria-label": "Back to the list" }, "‹ Calls"),
        element("h2", {}, element("b", { className: `status ${look}` }, call.times > 1 ? `${word} × ${number(call.times)}` : word), element("span", { className: "kind" }, kind(call)), element("span", { className: "model" }, call.model),
          ...call.reasons.map((reason) => element("span", { className: "badge", title: "Why the answer ended" }, reason))),
        element("div", { className: "copies" }, ...copies)),
      ...(all.length > 1 ? [strip(all, call)] : []),
      bar(call),
      legend(call),
    );
    if (focused) [...this.head.querySelectorAll("a, button")].find((one) => one.textContent === focused)?.focus();
  }

  #conversation() {
    const asked = parsed(this.known.body) ?? {};
    const made = [...messages(asked)];
    if (!this.known.body && this.known.call.method === "POST") {
      const seen = this.known.call.outcome && !this.known.prompt;
      made.push(note(seen ? "The request was not read, or is too large to be kept." : "The request is not here yet."));
    }
    this.replies = element("div", { className: "replies" });
    this.fault = element("div");
    return [...made, this.replies, this.fault];
  }

  /** Put what is new of the answer below what is there. */
  #grow() {
    const near = this.panel.scrollHeight - this.panel.scrollTop - this.panel.clientHeight < 60;
    const { reply, call } = this.known;
    for (const piece of reply.slice(this.pieces)) {
      const answer = (this.answers[piece[0]] ??= this.#answer(piece[0]));
      const tokens = answerTokens(piece);
      answer.text.append(...tokens);
      answer.hint.hidden = answer.hint.hidden && tokens[0].nodeType === Node.TEXT_NODE;
    }
    this.pieces = reply.length;
    for (const answer of this.answers) answer?.text.classList.toggle("growing", call.outcome === "");
    this.fault.replaceChildren(...fault(call));
    if (near && call.outcome === "") this.panel.scrollTop = this.panel.scrollHeight;
  }

  #answer(at) {
    const several = (parsed(this.known.body)?.n ?? 1) > 1;
    const { text, told } = readable("The answer’s tokens", []);
    const hint = element("span", { className: "scale", hidden: true }, "sure", element("i"), "unlikely");
    this.replies.append(message("answer", several ? `answer ${at + 1}` : "answer", hint, text, told));
    return { text, hint };
  }

  #prompt() {
    const { prompt, call } = this.known;
    this.promptShown = prompt !== null;
    if (prompt === null) {
      if (call.path === "/v1/embeddings") return [note("Texts for embeddings go to the model as they are.")];
      if (!call.prompt_tokens) return [note("No prompt has come to the model.")];
      return [note("The prompt’s tokens are not known here: the model runs elsewhere, or is not loaded any more.")];
    }
    const { text, told } = promptTokens(prompt);
    text.classList.add("borders");
    const control = prompt.filter(([, , is]) => is).length;
    return [
      element("p", { className: "note" }, `${number(call.prompt_tokens)} tokens, exactly as the model saw them. `,
        ...(control ? [element("span", { className: "token control" }, "control tokens"), ` are the prompt’s own: ${number(control)} of them. Nothing that a user writes becomes one.`] : [])),
      text, told,
    ];
  }

  #request() {
    const { call, body, error } = this.known;
    const facts = [["Time", time(call.at)], ["Client", call.agent], ["Correlation id", call.correlation]].filter(([, value]) => value);
    const made = [
      element("dl", { className: "facts" }, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
      element("h3", {}, `${call.method} ${call.path}`),
    ];
    if (body) made.push(element("pre", { tabIndex: 0 }, pretty(body)));
    if (error) {
      const told = error.startsWith("event: error") ? error.slice(error.indexOf("data: ") + 6) : error;
      made.push(element("h3", {}, `Answered with ${call.status}`), element("pre", { tabIndex: 0 }, pretty(told)));
    }
    return made;
  }

  #again() {
    return [new Ask(this.known.call.path, this.known.body).form];
  }
}

function* messages(asked) {
  for (const { role, content, tool_calls: calls, name } of Array.isArray(asked.messages) ? asked.messages : []) {
    const parts = [text(content), ...(calls ? [element("pre", {}, JSON.stringify(calls, null, 2))] : [])];
    yield message(String(role), name ? `${role} ${name}` : String(role), ...parts.filter((part) => part !== null));
  }
  if (asked.prompt !== undefined) yield message("user", "prompt", text(asked.prompt));
  if (asked.suffix) yield message("user", "suffix", text(asked.suffix));
  const inputs = asked.input === undefined ? [] : [asked.input].flat();
  for (const [at, input] of inputs.slice(0, 50).entries()) yield message("user", inputs.length > 1 ? `text ${at + 1} of ${inputs.length}` : "text", text(input));
  if (!Array.isArray(asked.tools) || !asked.tools.length) return;
  const names = asked.tools.map((tool) => String(tool?.function?.name)).join(", ");
  yield message("tool", "tools", element("details", {}, element("summary", {}, names), element("pre", {}, JSON.stringify(asked.tools, null, 2))));
}

function text(content) {
  if (content === null || content === undefined) return null;
  if (typeof content === "string") return element("div", { className: "text" }, content);
  if (Array.isArray(content) && content.every((chunk) => typeof chunk?.text === "string")) return element("div", { className: "text" }, content.map((chunk) => chunk.text).join(""));
  return element("pre", {}, JSON.stringify(content, null, 2));
}

function message(look, name, ...parts) {
  const [first] = parts;
  const head = first?.className === "scale" ? [parts.shift()] : [];
  return element("article", { className: `message ${["system", "user", "assistant", "tool", "answer"].includes(look) ? look : "other"}` }, element("h3", {}, name, ...head), ...parts);
}

const note = (words) => element("p", { className: "note" }, words);

function* fault(call) {
  const [look, word] = state(call);
  const words = {
    failed: call.fault || "The server failed; its log says why.",
    left: "It closed its connection before the end of the answer, so the model stopped.",
    cut: "The server closed the connection: the client did not read, or the server ended.",
  }[call.outcome];
  if (words) yield element("div", { className: `fault ${look}`, role: "note" }, element("b", {}, word), element("p", {}, words));
  if (call.replayed) yield note("An answer of an earlier attempt, given again: nothing was generated for this one.");
}

function strip(all, chosen) {
  const parts = all.map((call, at) => {
    const [look, word] = state(call);
    const made = element("a", { href: `#${call.number}` }, `Attempt ${at + 1} `, element("b", { className: `status ${look}` }, call.replayed ? `${word} again` : word));
    if (call.number === chosen.number) made.setAttribute("aria-current", "true");
    return element("li", {}, made);
  });
  return element("ol", { className: "attempts", "aria-label": "Attempts at this call" }, ...parts);
}

function copy(name, made) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(made());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = name), 1500);
  });
  return button;
}
