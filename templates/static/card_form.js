// Frames the gateway's own card fields in the page, and pays with what they return; no card data passes through here.
// Whatever goes wrong before anything was typed, the button leads to the gateway's own page instead.
"use strict";
(() => {
  const box = document.querySelector("[data-card-form]");
  const page = box.closest("form");
  const button = page.querySelector("button");
  const part = (name) => box.querySelector(`[data-${name}]`);
  let fields = null;

  // One entry for each kind of script that a gateway may bring: how its fields are shown, and how they are sent.
  const drivers = {
    tokenizer: async ({ url }) => {
      const tokenizer = new window.Tokenizer(url, "card-fields", { hideCardholderName: false });
      await tokenizer.initialize();
      return {
        send: async () => (await tokenizer.submitTokenization({ storePermanently: box.dataset.stores === "yes" })).success,
        close: () => tokenizer.destroy(),
      };
    },
  };

  const load = ({ script_url: src, integrity }) => new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src, onload: resolve, onerror: reject });
    if (integrity) Object.assign(script, { integrity, crossOrigin: "anonymous" });
    document.head.append(script);
  });

  const chosen = () => {
    const radio = page.querySelector("input[name=way]:checked") || page.querySelector("input[name=way]");
    return radio.value === box.dataset.cardForm;
  };

  const open = async () => {
    const answer = await fetch(box.dataset.fields, { method: "POST", body: new URLSearchParams({ way: box.dataset.cardForm }) });
    if (answer.status === 409) return location.reload();
    if (!answer.ok) throw new Error("the card fields are not open");
    const form = await answer.json();
    if (!(form.driver in drivers)) throw new Error("no driver");
    await load(form);
    fields = { id: form.id, ...(await drivers[form.driver](form)) };
    part("opening").hidden = true;
    box.removeAttribute("aria-busy");
  };

  const payElsewhere = () => {
    fields = null;
    part("opening").hidden = true;
    part("elsewhere").hidden = false;
    box.removeAttribute("aria-busy");
    page.classList.add("is-elsewhere");
  };

  const pay = () => {
    const found = {
      card_form: fields.id,
      browser_language: navigator.language,
      timezone_offset_minutes: new Date().getTimezoneOffset(),
      color_depth: screen.colorDepth,
      java_enabled: navigator.javaEnabled && navigator.javaEnabled() ? "yes" : "no",
      screen_height: screen.height,
      screen_width: screen.width,
    };
    for (const [name, value] of Object.entries(found)) {
      page.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
    }
    page.action = box.dataset.pay;
    page.submit();
  };

  const send = async () => {
    button.disabled = true;
    part("wrong").hidden = true;
    if (await fields.send().catch(() => false)) return pay();
    part("wrong").hidden = false;
    button.disabled = false;
  };

  page.addEventListener("submit", (event) => {
    if (!chosen() || page.classList.contains("is-elsewhere")) return;
    event.preventDefault();
    if (fields && !button.disabled) send();
  });
  // Back from the bank by the browser's own button: what was sent is spent, so the page begins anew.
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());

  open().catch(payElsewhere);
})();
