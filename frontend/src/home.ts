/** The landing page's few moving parts: the theme button, and a room's link or code that leads to the room. */

import { roomAddress } from "./room-address";
import { toggleTheme } from "./theme-choice";

document.querySelector("[data-theme-toggle]")?.addEventListener("click", toggleTheme);

const form = document.querySelector<HTMLFormElement>("[data-open-room]");
const field = form?.querySelector<HTMLInputElement>("input");
field?.addEventListener("input", () => field.setCustomValidity(""));
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!field) return;
  const address = roomAddress(field.value, window.location.href);
  if (address) {
    window.location.assign(address);
    return;
  }
  field.setCustomValidity("That is not a link or code of a room here.");
  field.reportValidity();
});

for (const time of document.querySelectorAll<HTMLTimeElement>("time[data-local]")) {
  const date = new Date(time.dateTime);
  if (!Number.isNaN(date.valueOf())) {
    time.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}
