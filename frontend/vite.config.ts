/** Builds the pages' scripts and styles into static/dist, with nothing that points at another host. */
import { cpSync } from "node:fs";
import { resolve } from "node:path";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const BASE = "/static/dist/";
const OUTPUT = resolve(import.meta.dirname, "../static/dist");
const EXCALIDRAW = resolve(import.meta.dirname, "node_modules/@excalidraw/excalidraw/dist/prod");

/**
 * Excalidraw names a CDN as the fallback address of every font. A browser under our content security policy reports
 * each of them, so the fallback becomes our own address; a build that still contains the CDN fails.
 */
function ownFonts(): Plugin {
  const fallback = /`https:\/\/esm\.sh\/\$\{.*?\}\/dist\/prod\/`/g;
  return {
    name: "own-fonts",
    apply: "build",
    transform(code, id) {
      if (!id.includes("@excalidraw/excalidraw") || !code.includes("esm.sh")) return null;
      return { code: code.replace(fallback, `(globalThis.location.origin+${JSON.stringify(BASE)})`), map: null };
    },
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type === "chunk" && file.code.includes("esm.sh")) this.error(`${file.fileName} still names a CDN`);
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
  plugins: [ownFonts()],
  resolve: { alias: { "@excalidraw/mermaid-to-excalidraw": resolve(import.meta.dirname, "src/no-mermaid.ts") } },
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2500,
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
