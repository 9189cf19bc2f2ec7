// Requests to the node that served this page. The name of the user stays in this tab (sessionStorage), and goes along
// as a header: there are no cookies, so no other page can act in its place.

const KEY = "edgelake.authorization";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    title: string,
    readonly detail = "",
    readonly hint = "",
    readonly code = "",
  ) {
    super(title);
  }

  /** Everything the node said, in one line. */
  get told(): string {
    return [this.message, this.detail].filter(Boolean).join(": ");
  }
}

export const identity = {
  get: (): string => sessionStorage.getItem(KEY) ?? "",
  set: (authorization: string): void => sessionStorage.setItem(KEY, authorization),
  clear: (): void => sessionStorage.removeItem(KEY),
  basic: (user: string, password: string): string => {
    const bytes = new TextEncoder().encode(`${user}:${password}`);
    return `Basic ${btoa(String.fromCharCode(...bytes))}`;
  },
  bearer: (token: string): string => `Bearer ${token.trim()}`,
};

let onRefused: () => void = () => {};

/** What is to be done when the node asks for a name. */
export function whenRefused(act: () => void): void {
  onRefused = act;
}

interface Options {
  body?: unknown;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

/** A response of the node; throws ApiError for anything but a success. */
export async function request(path: string, { body, signal, headers = {} }: Options = {}): Promise<Response> {
  const sent: Record<string, string> = { ...headers };
  const authorization = identity.get();
  if (authorization) sent["Authorization"] = authorization;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: sent,
      body: body === undefined ? null : JSON.stringify(body),
      // Else the browser would show a login window of its own.
      credentials: "omit",
      cache: "no-store",
      signal: signal ?? null,
    });
  } catch (problem) {
    if (signal?.aborted) throw problem;
    throw new ApiError(0, "The node does not answer");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response: Response): Promise<ApiError> {
  if (response.status === 401) onRefused();
  const text = await response.text();
  try {
    const { title, detail, hint, code } = JSON.parse(text) as Record<string, string>;
    return new ApiError(response.status, title ?? response.statusText, detail, hint, code);
  } catch {
    return new ApiError(response.status, `${response.status} ${response.statusText}`, text.slice(0, 300));
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal ? { signal } : {});
  return parse(await response.text()) as T;
}

export async function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal ? { body, signal } : { body });
  return parse(await response.text()) as T;
}

/** JSON, with whole numbers that JavaScript cannot hold kept as texts. */
export function parse(text: string): unknown {
  const exact = (_key: string, value: unknown, context?: { source?: string }): unknown => {
    if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
    return context?.source && /^-?\d+$/.test(context.source) ? context.source : value;
  };
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown);
}

export const at = encodeURIComponent;
