/** Builds the pages' scripts and styles into static/dist, with nothing that points at another host. */
import { cpSync } from "node:fs";
import { resolve } from "node:path";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const BASE = "/static/dist/";
const OUTPUT = resolve(import.meta.dirname, "../static/dist");
const EXCALIDRAW = resolve(import.meta.dirname, "node_modules/@excalidraw/excalidraw/dist/prod");

/**
 * Makes Excalidraw keep to our content security policy: fonts come from us and not from the CDN it names as their fallback, what
 * evaluates strings is replaced, inline styles are set through the object model. And tells screen readers what its menu button is,
 * and that what stands in the page is neither a dialog nor the page's footer. A build that still names the CDN fails, so that a new
 * version of Excalidraw is noticed.
 */
function adaptExcalidraw(): Plugin {
  const replacements: [RegExp, string][] = [
    [/`https:\/\/esm\.sh\/\$\{.*?\}\/dist\/prod\/`/g, `(globalThis.location.origin+${JSON.stringify(BASE)})`],
    [/\.setAttribute\("style","white-space: ?pre;?"\)/g, '.style.setProperty("white-space","pre")'],
    [/(?="data-testid":"main-menu-trigger",className)/g, '"aria-label":"Board menu",'],
    [/"footer",\{role:"contentinfo",/g, '"footer",{role:"group",'],
    [/role:"dialog","aria-modal":"true",className:"color-picker-container"/g, 'role:"group",className:"color-picker-container"'],
  ];
  const standIns: Record<string, string> = {
    "subset-shared.chunk.js": "src/whole-fonts.ts",
    "subset-worker.chunk.js": "src/whole-fonts-worker.ts",
    "@excalidraw/mermaid-to-excalidraw": "src/no-mermaid.ts",
  };
  return {
    name: "adapt-excalidraw",
    enforce: "pre",
    resolveId(source) {
      const standIn = standIns[source.replace(/^\.\//, "")];
      return standIn ? resolve(import.meta.dirname, standIn) : null;
    },
    transform(code, id) {
      if (!id.includes("@excalidraw/excalidraw/dist")) return null;
      const adapted = replacements.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), code);
      return adapted === code ? null : { code: adapted, map: null };
    },
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type === "chunk" && /esm\.sh/.test(file.code)) this.error(`${file.fileName} still names a CDN`);
      }
    },
    writeBundle() {
      cpSync(resolve(EXCALIDRAW, "fonts"), resolve(OUTPUT, "fonts"), { recursive: true });
    },
  };
}

export default defineConfig({
  base: BASE,
  publicDir: false,
  plugins: [adaptExcalidraw()],
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1300,
    reportCompressedSize: false,
    rollupOptions: {
      // Some of Excalidraw's parts say "use client", which means nothing here.
      onwarn: (warning, warn) => (warning.code === "MODULE_LEVEL_DIRECTIVE" ? undefined : warn(warning)),
      input: {
        room: resolve(import.meta.dirname, "src/room.tsx"),
        home: resolve(import.meta.dirname, "src/home.ts"),
        site: resolve(import.meta.dirname, "src/site.css"),
      },
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "chunks/[name]-[hash].js",
        // The pages link these two by name; everything else is found through them.
        assetFileNames: ({ names }) =>
          names.some((name) => name === "room.css" || name === "site.css") ? "[name][extname]" : "assets/[name]-[hash][extname]",
      },
    },
  },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
