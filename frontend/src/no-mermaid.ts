/**
 * Stands in for Excalidraw's diagrams from text, which draw with inline styles that our content security policy forbids,
 * and weigh more than the rest of the page. A pasted definition stays text.
 */

export function parseMermaidToExcalidraw(): Promise<never> {
  return Promise.reject(new Error("Diagrams from text are not supported here."));
}
