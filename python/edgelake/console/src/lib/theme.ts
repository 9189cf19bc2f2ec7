// Light or dark: as the system says, until the user chooses.
const KEY = "edgelake.theme";
export type Theme = "light" | "dark";

const dark = matchMedia("(prefers-color-scheme: dark)");

export function theme(): Theme {
  const chosen = localStorage.getItem(KEY);
  return chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
}

export function apply(): void {
  document.documentElement.dataset["theme"] = theme();
}

/** The other one; charts are told by an event, since they hold colours. */
export function toggle(): Theme {
  const next: Theme = theme() === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, next);
  changed();
  return next;
}

function changed(): void {
  apply();
  dispatchEvent(new Event("theme"));
}

dark.addEventListener("change", changed);
apply();

export const colour = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
