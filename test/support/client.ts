import { Json } from "./http.ts";
import { noteSecretIn } from "./traces.ts";

export interface Told {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Json;
  readonly text: string;
  /** The problem's code; undefined when it was done. */
  readonly code: string | undefined;
}

export interface Asking {
  readonly key?: string | null;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Asks a server over its socket. Whatever it says is an answer; it throws only when none came. */
export type Client = (method: string, path: string, asking?: Asking) => Promise<Told>;

/** A client with a key of its own; a request may bring another, or none. */
export function clientOf(url: string, ownKey: string | null = null): Client {
  return async (method, path, { key = ownKey, body, headers } = {}) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      // A test server may bear a certificate that it made itself.
      tls: { rejectUnauthorized: false },
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "");
    const json = new Json(isJson && text !== "" ? JSON.parse(text) : null);
    noteSecretIn(json.value);
    const code = json.at("code");
    return {
      status: response.status,
      headers: response.headers,
      body: json,
      text,
      code: response.ok || typeof code !== "string" ? undefined : code,
    };
  };
}
