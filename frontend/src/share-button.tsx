/** Copies the room's link, or hands it to the device's own share sheet where that is the custom. */

import { type ReactNode, useEffect, useState } from "react";
import { CheckIcon, ShareIcon } from "./icons";

export function ShareButton({ title }: { readonly title: string }): ReactNode {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = window.setTimeout(() => setCopied(false), 2_000);
    return () => window.clearTimeout(timer);
  }, [copied]);

  const share = async (): Promise<void> => {
    const url = window.location.origin + window.location.pathname;
    if (window.matchMedia("(pointer: coarse)").matches && typeof navigator.share === "function") {
      try {
        await navigator.share({ title, url });
      } catch {
        // The sheet was closed without a choice.
      }
      return;
    }
    if (await copy(url)) setCopied(true);
    else window.prompt("Copy this link:", url);
  };

  return (
    <button type="button" className="button primary share" data-testid="share" onClick={() => void share()}>
      {copied ? CheckIcon : ShareIcon}
      <span className="share-text" aria-live="polite">
        {copied ? "Link copied" : "Share"}
      </span>
    </button>
  );
}

/** The clipboard exists only on https and localhost; a selected field works elsewhere too. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
