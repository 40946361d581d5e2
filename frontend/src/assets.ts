/** Tells Excalidraw where its fonts are; must be evaluated before any Excalidraw module. */

declare global {
  interface Window {
    EXCALIDRAW_ASSET_PATH?: string;
  }
}

window.EXCALIDRAW_ASSET_PATH = import.meta.env.BASE_URL;

export {};
