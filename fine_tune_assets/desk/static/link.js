// Moves the token of a one-time link from the URL fragment into the form, and removes it from the browser's history and the address
// bar. Nothing is sent until the user presses the button.
"use strict";

(() => {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  document.querySelector("#code").value = token;
  document.querySelectorAll("[data-typed]").forEach((part) => { part.hidden = true; });
  document.querySelector("#link button").focus();
})();
