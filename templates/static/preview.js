// Lets the preview follow what is typed: the server reads the form and writes the preview, as its button would ask.
// What cannot be read leaves the last preview standing, marked as such. Without it the button does the same.
"use strict";
(() => {
  const button = document.querySelector("[data-preview]");
  const stale = document.querySelector("[data-stale]");
  let timer, request;

  const refresh = async () => {
    request?.abort();
    request = new AbortController();
    try {
      const body = new URLSearchParams(new FormData(button.form));
      const answer = await fetch(button.formAction, { method: "POST", body, signal: request.signal });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("preview-body");
      const shown = document.getElementById("preview-body");
      if (!fresh) return;
      const readable = "valid" in fresh.dataset || !("valid" in shown.dataset);
      if (readable) shown.replaceWith(fresh);
      stale.hidden = readable;
    } catch {
      // Typed on meanwhile, or no network just now: the next key asks again.
    }
  };

  button.form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, 250);
  });
  button.hidden = true;
  document.querySelector("[data-follows]").hidden = false;
})();
