// The page of a one-time link. Owns taking the token out of the address, where it stands behind the "#", into the form: it is then
// neither in the browser's history nor on the screen. Nothing is sent until somebody presses the button.
"use strict";

(() => {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  document.querySelector("#code").value = token;
  document.querySelectorAll("[data-typed]").forEach((part) => { part.hidden = true; });
  document.querySelector("#link button").focus();
})();
