// Looks again whether the bank has answered: soon, then ever more slowly, and for ten minutes at most.
// Without it the page asks by a refresh of its own, and nothing is lost.
"use strict";
(() => {
  const state = (page) => page.documentElement.dataset.page;
  const end = Date.now() + 600_000;
  let pause = 2_000;

  const look = async () => {
    try {
      const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok && state(page) !== state(document)) return location.replace(answer.url);
    } catch {
      // No network just now: the next look may have one.
    }
    pause = Math.min(pause * 1.4, 30_000);
    if (Date.now() < end) return setTimeout(look, pause);
    for (const over of document.querySelectorAll("[data-over]")) over.hidden = false;
  };

  setTimeout(look, pause);
})();
