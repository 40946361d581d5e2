/* Applies the theme chosen in this browser before the first paint; a classic script in the head, so that nothing flashes. */
try {
  const theme = localStorage.getItem("durable-rooms:theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  /* Storage is off: the system's preference stands. */
}
