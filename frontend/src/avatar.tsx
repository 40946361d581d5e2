/** A person as a coloured disc with initials. */

import type { ReactNode } from "react";
import { initials } from "./identity";

export function Avatar({ name, color }: { readonly name: string; readonly color: string }): ReactNode {
  return (
    <span className="avatar" style={{ backgroundColor: `color-mix(in srgb, ${color} 86%, #000)` }} aria-hidden="true">
      {initials(name)}
    </span>
  );
}
