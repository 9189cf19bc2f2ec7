// The page and what it shows stand behind the # of the address: it never leaves the browser, and it can be shared.
import { useEffect, useState } from "preact/hooks";

export interface Route {
  page: string;
  values: URLSearchParams;
}

export function read(hash = location.hash): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { page: path || "overview", values: new URLSearchParams(query) };
}

export function link(page: string, values: Record<string, string> = {}): string {
  const given = Object.entries(values).filter(([, value]) => value !== "");
  const query = new URLSearchParams(given).toString();
  return `#/${page}${query ? `?${query}` : ""}`;
}

export function go(page: string, values: Record<string, string> = {}): void {
  location.hash = link(page, values);
}

/** Changes the address without another step in the browser's history. */
export function replace(page: string, values: Record<string, string>): void {
  history.replaceState(null, "", link(page, values));
}

export function useRoute(): Route {
  const [route, set] = useState(read);
  useEffect(() => {
    const changed = (): void => set(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
