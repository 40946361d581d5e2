/** Who is here: a stack of avatars that opens into a list, where one can rename oneself and find the others' cursors. */

import { type ReactNode, useEffect, useRef, useState } from "react";
import { Avatar } from "./avatar";
import { PencilIcon, TargetIcon } from "./icons";
import type { User, You } from "./protocol";

const SHOWN = 4;

interface PeopleProps {
  readonly you: You | null;
  readonly users: readonly User[];
  readonly typing: readonly string[];
  readonly onRename: () => void;
  readonly onVisit: (id: string) => void;
}

export function People({ you, users, typing, onRename, onVisit }: PeopleProps): ReactNode {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  /** What has the focus in the list is about to be hidden. */
  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };

  useEffect(() => {
    if (!open) return;
    const outside = (event: Event): void => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key !== "Escape") return;
      close();
    };
    document.addEventListener("pointerdown", outside, true);
    document.addEventListener("focusin", outside);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      document.removeEventListener("focusin", outside);
      document.removeEventListener("keydown", escape);
    };
  }, [open]);

  // You come first: it is where one looks for oneself.
  const sorted = [...users].sort((one, other) => Number(other.id === you?.id) - Number(one.id === you?.id));
  const count = users.length;
  return (
    <div className="people" ref={root}>
      <button ref={button} type="button" className="people-button" aria-expanded={open} aria-controls="people-list" onClick={() => setOpen(!open)}>
        <span className="people-stack">
          {sorted.slice(0, SHOWN).map((user) => (
            <Avatar key={user.id} name={user.name} color={user.color} />
          ))}
        </span>
        <span className="people-count">
          <span data-testid="people-count">{count}</span>
          <span className="people-word"> here</span>
        </span>
      </button>
      <div id="people-list" className="people-panel" hidden={!open}>
        <h2>In this room</h2>
        <ul data-testid="people-list">
          {sorted.map((user) => (
            <li key={user.id}>
              <Avatar name={user.name} color={user.color} />
              <span className="people-name">
                {user.name}
                {user.id === you?.id && <span className="tag">you</span>}
                {typing.includes(user.id) && <span className="people-note">writing…</span>}
              </span>
              {user.id === you?.id ? (
                you.guest && (
                  <button
                    type="button"
                    className="icon-button"
                    aria-label="Rename yourself"
                    title="Rename yourself"
                    onClick={() => {
                      close();
                      onRename();
                    }}
                  >
                    {PencilIcon}
                  </button>
                )
              ) : (
                <button
                  type="button"
                  className="icon-button"
                  aria-label={`Go to the cursor of ${user.name}`}
                  title="Go to their cursor"
                  onClick={() => {
                    close();
                    onVisit(user.id);
                  }}
                >
                  {TargetIcon}
                </button>
              )}
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}
