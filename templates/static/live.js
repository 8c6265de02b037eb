// Keeps a part of the page as it is by now, every few seconds while the page is looked at; when its badge of state
// changes the whole page is loaded again, for then other things can be done. Without it a reload does the same.
"use strict";
(() => {
  const part = document.querySelector("[data-live]");
  const isBusy = () => document.hidden || part.contains(document.activeElement) || document.querySelector("main details[open]");

  const look = async () => {
    try {
      if (isBusy()) return;
      const answer = await fetch(part.dataset.live, { cache: "no-store", redirect: "error" });
      if (!answer.ok) return;
      if (answer.headers.get("X-State") !== part.dataset.state) return location.reload();
      part.replaceChildren(...new DOMParser().parseFromString(await answer.text(), "text/html").body.childNodes);
    } catch {
      // No network just now: the next look may have one.
    } finally {
      setTimeout(look, 5_000);
    }
  };

  setTimeout(look, 5_000);
})();
