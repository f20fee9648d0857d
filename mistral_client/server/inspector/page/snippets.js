// A call as a command and as a program.

import { isNumber, parse } from "./json.js";

const CALLS = {
  "/v1/chat/completions": ["chat", "chat_stream"],
  "/v1/fim/completions": ["completion", "completion_stream"],
  "/v1/embeddings": ["embeddings"],
  "/v1/models": ["list_models"],
};

const forShell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(call, body, withKey) {
  const parts = [`curl ${call.stream ? "-N " : ""}${forShell(location.origin + call.path)}`];
  if (call.method !== "GET" && call.method !== "POST") parts.push(`-X ${call.method}`);
  if (withKey) parts.push(`-H "Authorization: Bearer $MISTRAL_API_KEY"`);
  if (body) parts.push(`-H 'Content-Type: application/json'`, `-d ${forShell(body)}`);
  return `${parts.join(" \\\n  ")}\n`;
}

/** JSON as a literal of Python, over several lines where it is long. */
export function literal(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object" || isNumber(value)) return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const deeper = `${indent}    `;
  const parts = (inner) => Array.isArray(value)
    ? value.map((item) => literal(item, inner))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, inner)}`);
  const short = open + parts(indent).join(", ") + close;
  if (short.length + indent.length < 100 && !short.includes("\n")) return short;
  return `${open}\n${parts(deeper).map((part) => `${deeper}${part},\n`).join("")}${indent}${close}`;
}

/** Null for a call that the client does not have. */
export function python(call, body) {
  const names = CALLS[call.path];
  if (!names || (!body && call.method !== "GET")) return null;
  const { stream, ...asked } = body ? parse(body) : {};
  const given = Object.entries(asked).map(([name, value]) => `        ${name}=${literal(value, "        ")},\n`).join("");
  const made = `client.${names[stream ? 1 : 0]}(${given ? `\n${given}    ` : ""})`;
  const rest = stream
    ? [`    for chunk in ${made}:`, `        print(chunk.choices[0].delta.content or "", end="", flush=True)`]
    : [`    response = ${made}`, `    print(${call.path.endsWith("completions") ? "response.choices[0].message.content" : "response"})`];
  return ["from mistral_client import MistralClient", "", `with MistralClient(endpoint=${JSON.stringify(location.origin)}) as client:`, ...rest, ""].join("\n");
}
