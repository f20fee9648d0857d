// Calls as they come, the one that is chosen, and the key where one is asked for.

import { asked } from "./ask.js";
import { Detail } from "./detail.js";
import { byId } from "./dom.js";
import { attempts, showList } from "./list.js";
import { Unauthorized, ask, follow, key, setKey } from "./server.js";

const calls = new Map();
let detail = null;
let awaited = null;
let fetching = false;

const chosen = () => Number(location.hash.slice(1)) || null;

function receive({ oldest, calls: news }) {
  for (const number of calls.keys()) if (number < oldest) calls.delete(number);
  for (const call of news) calls.set(call.number, call);
  const made = awaited && news.find((call) => call.label === awaited);
  if (made) {
    awaited = null;
    location.hash = made.number;
  }
  showList(calls, chosen());
  if (news.some((call) => attempts(calls, call).some((one) => one.number === chosen()))) refresh();
}

/** Bring the chosen call up to what the list knows of it. */
async function refresh() {
  const number = chosen();
  const call = calls.get(number);
  document.body.classList.toggle("chosen", call !== undefined);
  if (!call) {
    detail = null;
    byId("call").hidden = true;
    byId("nothing").hidden = false;
  }
  if (!call || fetching) return;
  if (detail?.number === number) detail.update(calls, call);
  fetching = true;
  try {
    const known = detail?.number === number ? detail.known : null;
    // The error and the prompt come with the whole, the answer piece by piece.
    const partly = known !== null && known.reply.length > 0 && (known.prompt !== null || !call.prompt_tokens) && call.outcome === "";
    const response = await ask(`inspector/calls/${number}${partly ? `?after=${known.reply.length}` : ""}`);
    if (!response.ok || number !== chosen()) return;
    const told = await response.json();
    if (detail?.number !== number || (!detail.known.body && told.body)) detail = new Detail(told, key() !== null);
    detail.update(calls, told.call, told);
  } catch (error) {
    if (error instanceof Unauthorized) login(true);
  } finally {
    fetching = false;
    const now = calls.get(chosen());
    if (now && (detail?.number !== now.number || detail.known.call.outcome !== now.outcome)) refresh();
  }
}

function login(wrong) {
  byId("wrong").textContent = wrong && key() ? "This key is not right." : "";
  setKey(null);
  byId("key").value = "";
  if (!byId("login").open) byId("login").showModal();
}

async function listen() {
  let wait = 500;
  for (;;) {
    try {
      let first = true;
      await follow("inspector/events", (news) => {
        if (first) calls.clear();
        first = false;
        wait = 500;
        tell("live");
        receive(news);
      });
      tell("the server has ended");
    } catch (error) {
      if (error instanceof Unauthorized) {
        tell("locked");
        return login(true);
      }
      tell("not connected");
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(2 * wait, 5000);
  }
}

function tell(state) {
  if (byId("state").textContent === state) return;
  byId("state").textContent = state;
  byId("state").classList.toggle("live", state === "live");
}

byId("hint").textContent = `export MISTRAL_ENDPOINT=${location.origin}`;
byId("search").addEventListener("input", () => showList(calls, chosen()));
byId("kinds").addEventListener("input", () => showList(calls, chosen()));
byId("clear").addEventListener("click", () => ask("inspector/calls", { method: "DELETE" }).then(() => (location.hash = "")));
byId("login").addEventListener("cancel", (event) => event.preventDefault());
byId("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key").value);
  byId("login").close();
  listen();
});
asked.addEventListener("asked", ({ detail: label }) => (awaited = label));
addEventListener("hashchange", () => {
  showList(calls, chosen());
  refresh();
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    byId("search").focus();
  }
});
listen();
