// Figures and kinds of calls in words.

const KINDS = {
  "/v1/chat/completions": "chat",
  "/v1/fim/completions": "fim",
  "/v1/embeddings": "embeddings",
  "/v1/models": "models",
};

export function kind(call) {
  const known = KINDS[call.path];
  if (!known) return `${call.method} ${call.path}`;
  return call.stream ? `${known} stream` : known;
}

export const number = (value) => value.toLocaleString("en");

export function duration(milliseconds) {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return milliseconds < 60_000 ? `${(milliseconds / 1000).toFixed(1)} s` : `${(milliseconds / 60_000).toFixed(1)} min`;
}

export const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

/** Tokens a second, to as many digits as tell something. */
export const perSecond = (rate) => `${rate < 10 ? rate.toFixed(1) : number(Math.round(rate))}/s`;

/** How many tokens a call took, in and out. */
export function tokens(call) {
  if (!call.prompt_tokens) return "";
  return call.path === "/v1/embeddings" ? `${number(call.prompt_tokens)} tokens` : `${number(call.prompt_tokens)} → ${number(call.answer_tokens)} tokens`;
}

/** Tokens a second from the first one on; null where there were not two. */
export function speed(call) {
  const seconds = (call.latest - call.first) / 1000;
  return call.answer_tokens > 1 && seconds > 0 ? (call.answer_tokens - 1) / seconds : null;
}

export const isFault = (call) => ["failed", "left", "cut"].includes(call.outcome);

/** What has become of a call: a word for its look, and one to read. */
export function state(call) {
  if (call.outcome === "left") return ["left", "client left"];
  if (call.outcome === "cut") return ["failed", "cut off"];
  if (call.outcome === "failed") return ["failed", call.status >= 400 ? `${call.status}` : `${call.status} broken`];
  if (call.outcome === "answered") return ["answered", `${call.status}`];
  if (call.first !== null) return ["running", "writing"];
  if (call.started !== null) return ["running", "reading"];
  return ["running", call.prepared !== null ? "waiting" : "preparing"];
}

/** Which part of its time a call spent on what. */
export function spans(call) {
  if (call.prepared === null) return [[call.ended === null ? "Preparing" : "Answering", "preparing", 0, call.now]];
  const computing = call.path === "/v1/embeddings" ? [] : [["Reading the prompt", "prompt", call.first]];
  const moments = [["Preparing", "preparing", call.prepared], ["Queue", "queue", call.started], ...computing];
  moments.push([computing.length ? "Writing" : "Computing", "writing", call.ended]);
  const found = [];
  let from = 0;
  for (const [name, look, until] of moments) {
    found.push([name, look, from, until ?? call.now]);
    if (until === null) break;
    from = until;
  }
  return found;
}
