// Goes on to the gateway's page by itself; without it the page's button does the same.
"use strict";
document.querySelector("[data-leave]").submit();
