// Two entries, one for each page the collector serves: `/` and `/docs`.
import { defineConfig } from "vite";

export default defineConfig({
  // Relative asset addresses, so that the pages also work behind a path prefix.
  base: "./",
  build: {
    target: "es2022",
    // The collector sends a strict content security policy; nothing may be inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ["index.html", "docs.html"] },
  },
  server: { proxy: { "/api": "http://127.0.0.1:7480", "/openapi.json": "http://127.0.0.1:7480" } },
});
