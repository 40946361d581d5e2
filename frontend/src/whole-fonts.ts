/**
 * Stands in for Excalidraw's cutting of fonts to the letters an exported SVG uses: that code calls `eval`, which our content
 * security policy forbids, and is larger than the board itself. Exported files carry the fonts they use whole.
 */

export const Commands = { Subset: "SUBSET" } as const;

export function subsetToBinary(font: ArrayBuffer): Promise<ArrayBuffer> {
  return Promise.resolve(font);
}

export function toBase64(font: ArrayBuffer): Promise<string> {
  let binary = "";
  for (const byte of new Uint8Array(font)) binary += String.fromCharCode(byte);
  return Promise.resolve(`data:font/woff2;base64,${btoa(binary)}`);
}

export function subsetToBase64(font: ArrayBuffer): Promise<string> {
  return toBase64(font);
}
