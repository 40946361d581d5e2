/** Dark or light: what the system prefers until somebody chooses, kept in this browser. `static/theme.js` applies it early. */

export type Theme = "light" | "dark";

const KEY = "durable-rooms:theme";
export const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

export function currentTheme(): Theme {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "dark" || chosen === "light") return chosen;
  return prefersDark.matches ? "dark" : "light";
}

export function toggleTheme(): Theme {
  const next = currentTheme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // A browser that stores nothing forgets the choice; nothing else depends on it.
  }
  return next;
}
