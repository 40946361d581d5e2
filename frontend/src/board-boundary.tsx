/** Keeps the conversation alive when the whiteboard fails to load or crashes. */

import { Component, type ReactNode } from "react";

export class BoardBoundary extends Component<{ readonly children: ReactNode }, { readonly failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return (
      <div className="board-loading" role="alert">
        <p>The whiteboard did not load. What is on it is safe in the room.</p>
        <button type="button" className="button primary" onClick={() => window.location.reload()}>
          Load again
        </button>
      </div>
    );
  }
}
