// The same call again with other settings. It appears in the list like any other.

import { element } from "./dom.js";
import { parse, pretty } from "./json.js";
import { Unauthorized, ask } from "./server.js";

const SETTINGS = [
  ["temperature", { min: 0, max: 1.5, step: 0.1 }],
  ["max_tokens", { min: 0, step: 1 }],
  ["random_seed", { min: 0, step: 1 }],
];

/** Told the label of each call that is made here. */
export const asked = new EventTarget();

const running = new Map();

/** How a call that was made here is left; undefined when it has ended, or was made elsewhere. */
export const leave = (label) => running.get(label);

export class Ask {
  constructor(path, body) {
    this.path = path;
    this.fields = new Map();
    this.text = element("textarea", { spellcheck: false, "aria-label": "The request as JSON", value: pretty(body), oninput: () => this.#read() });
    this.wrong = element("p", { className: "wrong", role: "alert" });
    this.send = element("button", { type: "submit", className: "primary" }, "Send");
    const settings = path.endsWith("completions") ? SETTINGS : [];
    const labels = settings.map(([name, options]) => {
      const field = element("input", { type: "number", ...options, oninput: () => this.#set(name, field.value === "" ? undefined : Number(field.value)) });
      this.fields.set(name, field);
      return element("label", {}, name, field);
    });
    if (settings.length) {
      const field = element("input", { type: "checkbox", oninput: () => this.#set("stream", field.checked || undefined) });
      this.fields.set("stream", field);
      labels.push(element("label", { className: "check" }, field, "stream"));
    }
    this.form = element("form", { className: "ask", onsubmit: (event) => { event.preventDefault(); this.#ask(); } },
      element("div", { className: "settings" }, ...labels), this.text, this.wrong, element("div", { className: "buttons" }, this.send));
    this.#read();
  }

  #set(name, value) {
    try {
      this.text.value = JSON.stringify({ ...parse(this.text.value), [name]: value }, null, 2);
    } catch {
      return; // it says so already
    }
    this.#read();
  }

  #read() {
    let value = null;
    try {
      value = parse(this.text.value);
      this.wrong.textContent = "";
    } catch (error) {
      this.wrong.textContent = `This is not JSON: ${error.message}`;
    }
    this.send.disabled = value === null;
    for (const [name, field] of this.fields) {
      if (document.activeElement === field) continue;
      if (field.type === "checkbox") field.checked = value?.[name] === true;
      else field.value = value?.[name] === undefined ? "" : JSON.stringify(value[name]);
    }
  }

  async #ask() {
    const leaving = new AbortController();
    const label = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    running.set(label, () => leaving.abort());
    asked.dispatchEvent(new CustomEvent("asked", { detail: label }));
    try {
      const response = await ask(this.path, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Mistral-Inspector": label },
        body: this.text.value,
        signal: leaving.signal,
      });
      for (const reader = response.body.getReader(); !(await reader.read()).done; ); // who does not read counts as gone
    } catch (error) {
      if (error.name !== "AbortError") this.wrong.textContent = error instanceof Unauthorized ? "The key is not right any more." : `It was not sent: ${error.message}`;
    }
    running.delete(label);
  }
}
