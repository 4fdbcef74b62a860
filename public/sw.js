// @ts-check
/** Keeps the page for when there is no network: the newest copy first, the kept one without. */

const KEPT = "numdraw";
const PATIENCE = 3000; // ms; a network slower than that is none where there is a kept copy
let patience = PATIENCE; // none after a late file, until one comes
const MODULES = "api geometry glyphs history live page pen sample sheet texts".split(" ");
const SHELL = ["./", "css/page.css", "favicon.svg", "numdraw.webmanifest"];

self.addEventListener("install", (event) => {
  const shell = [...SHELL, ...MODULES.map((name) => `js/${name}.js`)];
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(shell)));
  self.skipWaiting();
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const kept = await caches.open(KEPT);
  const copy = await kept.match(request, { ignoreSearch: true });
  if (copy === undefined) return fetch(request);
  let timer;
  const fresh = fetch(request).finally(() => clearTimeout(timer)).then((response) => {
    patience = PATIENCE;
    if (!response.ok) return copy;
    kept.put(request.url.split("?")[0], response.clone());
    return response;
  });
  const late = new Promise((done) => {
    timer = setTimeout(() => {
      patience = 0;
      done(copy);
    }, patience);
  });
  return Promise.race([fresh, late]).catch(() => copy);
}
