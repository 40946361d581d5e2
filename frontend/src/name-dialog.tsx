/** Asks a guest for a name, in a native dialog: beside the conversation on the first visit, modal when renaming. */

import { type FormEvent, type ReactNode, useLayoutEffect, useRef, useState } from "react";

const KEY = "durable-rooms:name";
export const NAME_LENGTH = 32;

/** The name remembered in this browser; empty when there is none, null when the person has never been asked. */
export function rememberedName(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function rememberName(name: string): void {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Without storage the name lasts as long as the page; the server's cookie keeps the person.
  }
}

interface NameDialogProps {
  readonly current: string;
  readonly modal: boolean;
  readonly onName: (name: string) => void;
  readonly onSkip: () => void;
}

export function NameDialog({ current, modal, onName, onSkip }: NameDialogProps): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const [name, setName] = useState(modal ? current : "");

  useLayoutEffect(() => {
    const element = dialog.current;
    if (!element) return;
    if (modal) element.showModal();
    // `show()` would move the focus here; somebody may be writing already.
    else element.setAttribute("open", "");
    // While it is still in the page: a modal dialog gives the focus back to where it was.
    return () => element.close();
  }, [modal]);

  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const chosen = name.trim();
    if (chosen) onName(chosen);
    else onSkip();
  };

  return (
    <dialog ref={dialog} className={modal ? "name-modal" : "name-card"} aria-labelledby="name-title" onCancel={onSkip} data-testid="name-dialog">
      <form onSubmit={submit}>
        <h2 id="name-title">{modal ? "Another name" : "What should we call you?"}</h2>
        {!modal && (
          <p>
            Until you say, you are <b>{current}</b>.
          </p>
        )}
        <div className="name-row">
          <label htmlFor="your-name" className="visually-hidden">
            Your name
          </label>
          <input id="your-name" dir="auto" value={name} maxLength={NAME_LENGTH} autoComplete="nickname" placeholder="Your name" spellCheck={false} onChange={(event) => setName(event.target.value)} />
          <button type="submit" className="button primary">
            Save
          </button>
          <button type="button" className="button quiet" onClick={onSkip}>
            {modal ? "Cancel" : "Skip"}
          </button>
        </div>
      </form>
    </dialog>
  );
}
