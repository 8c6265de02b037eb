// The tokenizer a shop's page loads: the class name, constructor, methods and results of the live script.
// How it talks to the form in its frame is its own affair.
(function () {
  "use strict";
  var HELLO_EVERY_MS = 100;
  var PATIENCE_MS = 15000;

  function Tokenizer(url, holderId, options, token) {
    this.url = url;
    this.origin = new URL(url, window.location.href).origin;
    this.holderId = holderId;
    this.options = options || {};
    this.token = token || "";
    this.frame = null;
    this.calls = {};
    this.lastCall = 0;
    this.onMessage = this.onMessage.bind(this);
  }

  Tokenizer.prototype.initialize = function () {
    var self = this;
    return new Promise(function (resolve, reject) {
      var holder = document.getElementById(self.holderId);
      if (!holder) { reject(new Error("there is no element " + self.holderId)); return; }
      if (self.frame) { reject(new Error("it is initialized already")); return; }
      self.ready = resolve;
      window.addEventListener("message", self.onMessage);
      self.frame = document.createElement("iframe");
      self.frame.src = self.url;
      self.frame.title = "Card details";
      self.frame.style.cssText = "width:100%;border:0;display:block;min-height:15.5rem";
      holder.appendChild(self.frame);
      var begun = Date.now();
      self.greeting = window.setInterval(function () {
        if (Date.now() - begun > PATIENCE_MS) {
          window.clearInterval(self.greeting);
          reject(new Error("the card form could not be loaded"));
          return;
        }
        self.send({
          kind: "hello",
          token: self.token,
          options: {
            hideCardholderName: self.options.hideCardholderName !== false,
            hideTokenFields: self.options.hideTokenFields === true
          }
        });
      }, HELLO_EVERY_MS);
    });
  };

  Tokenizer.prototype.send = function (message) {
    // No card data goes this way; the form answers to the page that holds it alone. A named origin would fill the
    // console with complaints until the form is loaded.
    if (this.frame && this.frame.contentWindow) {
      this.frame.contentWindow.postMessage(Object.assign({ to: "payone-form" }, message), "*");
    }
  };

  Tokenizer.prototype.onMessage = function (event) {
    var message = event.data;
    if (!this.frame || event.source !== this.frame.contentWindow || event.origin !== this.origin) { return; }
    if (!message || message.from !== "payone-form") { return; }
    if (message.kind === "ready") {
      window.clearInterval(this.greeting);
      this.ready();
    } else if (message.kind === "height") {
      this.frame.style.height = message.height + "px";
    } else if (message.kind === "validation" && this.options.validationCallback) {
      this.options.validationCallback({ valid: message.valid });
    } else if (message.kind === "result" && this.calls[message.call]) {
      this.calls[message.call](message.result);
      delete this.calls[message.call];
    }
  };

  Tokenizer.prototype.useToken = function (token) {
    this.token = token || "";
    this.send({ kind: "useToken", token: this.token });
  };

  Tokenizer.prototype.submitTokenization = function (options) {
    var self = this;
    var wanted = options && "storePermanently" in options ? options : self.options;
    return new Promise(function (resolve) {
      if (!self.frame) {
        resolve({ success: false, error: { message: "it is not initialized" } });
        return;
      }
      self.lastCall += 1;
      self.calls[self.lastCall] = resolve;
      self.send({ kind: "submit", call: self.lastCall, storePermanently: wanted.storePermanently });
    });
  };

  Tokenizer.prototype.setAmount = function (amount, currency) {
    this.amount = { amount: amount, currency: currency };
  };

  Tokenizer.prototype.destroy = function () {
    window.removeEventListener("message", this.onMessage);
    window.clearInterval(this.greeting);
    if (this.frame) { this.frame.remove(); }
    this.frame = null;
  };

  window.Tokenizer = Tokenizer;
})();
