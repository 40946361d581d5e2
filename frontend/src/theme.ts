/** The theme as React state. */

import { useEffect, useState } from "react";
import { currentTheme, prefersDark, type Theme, toggleTheme } from "./theme-choice";

export type { Theme };

export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(currentTheme);
  useEffect(() => {
    const follow = (): void => setTheme(currentTheme());
    prefersDark.addEventListener("change", follow);
    return () => prefersDark.removeEventListener("change", follow);
  }, []);
  return [theme, () => setTheme(toggleTheme())];
}
