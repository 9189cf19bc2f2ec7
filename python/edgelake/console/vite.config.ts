// One page, one script, one style sheet, all below /ui/: nothing is loaded from elsewhere, nothing stands inline.
import { defineConfig } from "vite";

export default defineConfig({
  base: "/ui/",
  publicDir: false,
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "dist",
    assetsDir: "",
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rollupOptions: { output: { entryFileNames: "console-[hash].js", assetFileNames: "console-[hash][extname]" } },
  },
});
