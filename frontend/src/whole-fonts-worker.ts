/** The worker that Excalidraw asks to cut fonts; it hands them back whole, see `whole-fonts`. Loaded as a page module, it names itself. */

export const WorkerUrl = new URL(import.meta.url);

if (typeof window === "undefined") {
  self.onmessage = (event: MessageEvent<{ readonly arrayBuffer: ArrayBuffer }>) => {
    const { arrayBuffer } = event.data;
    self.postMessage(arrayBuffer, { transfer: [arrayBuffer] });
  };
}
