/** Says how the connection stands, in a few words and a colour. */

import { type ReactNode, useEffect, useState } from "react";
import type { Connection } from "./socket";

const CLOSED: Readonly<Record<string, string>> = {
  missing: "No such room",
  forbidden: "Not allowed",
  "signed-out": "Signed out",
  refused: "Disconnected",
};

function useSecondsUntil(time: number | null): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (time === null) return;
    setNow(Date.now());
    const timer = window.setInterval(() => setNow(Date.now()), 500);
    return () => window.clearInterval(timer);
  }, [time]);
  return time === null ? 0 : Math.max(0, Math.ceil((time - now) / 1000));
}

export function ConnectionPill({ connection, onRetry }: { readonly connection: Connection; readonly onRetry: () => void }): ReactNode {
  const seconds = useSecondsUntil(connection.state === "reconnecting" ? connection.retryAt : null);
  const brief =
    connection.state === "live"
      ? "Live"
      : connection.state === "connecting"
        ? "Connecting…"
        : connection.state === "closed"
          ? (CLOSED[connection.reason] ?? "Disconnected")
          : "Reconnecting";
  return (
    <div className="pill" data-testid="connection" data-state={connection.state}>
      <span className="pill-dot" aria-hidden="true" />
      <span className="pill-text">
        <span className="pill-word">{connection.state === "reconnecting" ? "Reconnecting in " : brief}</span>
        {connection.state === "reconnecting" && <>{seconds} s</>}
      </span>
      {connection.state === "reconnecting" && (
        <button type="button" className="pill-retry" onClick={onRetry}>
          Now
        </button>
      )}
      {/* The countdown would be read out every second; the state alone is news. */}
      <span className="visually-hidden" role="status">
        {brief}
      </span>
    </div>
  );
}
