// What the server tells, and the key that it may ask for: in this tab only, and never in a URL.

const KEY = "mistral-inspector-key";

export class Unauthorized extends Error {}

export const key = () => sessionStorage.getItem(KEY);
export const setKey = (value) => (value === null ? sessionStorage.removeItem(KEY) : sessionStorage.setItem(KEY, value));

export async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key() ? { Authorization: `Bearer ${key()}` } : {}) };
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (response.status === 401) throw new Unauthorized();
  return response;
}

/** Calls back with each event's data, until the stream ends. */
export async function follow(path, receive) {
  const response = await ask(path);
  if (!response.ok) throw new Error(`status ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (unread + value).split("\n\n");
    unread = events.pop();
    for (const event of events) receive(JSON.parse(event.slice("data: ".length)));
  }
}
