// Brings the place where one is into sight, where the menu is wider than the screen.
"use strict";
(() => {
  const here = document.querySelector("nav > [aria-current=page]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.offsetWidth) / 2;
})();
