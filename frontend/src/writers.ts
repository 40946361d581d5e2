/** Who is writing: each for some seconds after their last sign of it, unless they say that they stopped. */

const FOR_MS = 5_000;

export class Writers {
  private readonly timers = new Map<string, number>();

  constructor(private readonly onChange: (ids: readonly string[]) => void) {}

  start(id: string): void {
    const known = this.timers.has(id);
    window.clearTimeout(this.timers.get(id));
    this.timers.set(
      id,
      window.setTimeout(() => this.stop(id), FOR_MS),
    );
    if (!known) this.tell();
  }

  stop(id: string): void {
    if (!this.timers.has(id)) return;
    window.clearTimeout(this.timers.get(id));
    this.timers.delete(id);
    this.tell();
  }

  clear(): void {
    for (const timer of this.timers.values()) window.clearTimeout(timer);
    this.timers.clear();
    this.tell();
  }

  private tell(): void {
    this.onChange([...this.timers.keys()]);
  }
}
