// JSON as it was sent: numbers that JavaScript would round stay as they are.

const exact = (_key, value, context) =>
  typeof value === "number" && !Number.isSafeInteger(value) && Number.isInteger(value) && context?.source && JSON.rawJSON
    ? JSON.rawJSON(context.source)
    : value;

export const parse = (json) => JSON.parse(json, exact);
export const isNumber = (value) => typeof value === "number" || Boolean(JSON.isRawJSON?.(value));

/** Null for what is no JSON. */
export function parsed(json) {
  try {
    return parse(json);
  } catch {
    return null;
  }
}

/** Over several lines, where it is JSON. */
export const pretty = (json) => (parsed(json) === null ? json : JSON.stringify(parsed(json), null, 2));
