// Lists of texts that this browser remembers: statements and commands.
const MOST = 100;

export function kept(name: string): string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(`edgelake.${name}`) ?? "[]");
    return Array.isArray(found) ? found.filter((one): one is string => typeof one === "string") : [];
  } catch {
    return [];
  }
}

/** The newest first, each once. */
export function keep(name: string, text: string): string[] {
  const list = [text, ...kept(name).filter((one) => one !== text)].slice(0, MOST);
  try {
    localStorage.setItem(`edgelake.${name}`, JSON.stringify(list));
  } catch {
    // Storage is full or switched off: the list lasts as long as the page.
  }
  return list;
}

export function forget(name: string): void {
  localStorage.removeItem(`edgelake.${name}`);
}
