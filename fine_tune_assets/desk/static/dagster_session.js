// Added to the page of the Dagster UI: when the session has ended, go to the sign-in, which leads back to this address.
"use strict";
(() => {
  let isActive = false;
  for (const kind of ["pointerdown", "keydown"]) {
    addEventListener(kind, () => { isActive = true; }, { capture: true, passive: true });
  }
  const check = async () => {
    const query = isActive ? "?active=1" : "";
    isActive = false;
    const reply = await fetch("/dagster/session" + query, { cache: "no-store" }).catch(() => null);
    if (reply && reply.status === 401) {
      location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
    }
  };
  setInterval(check, 15000);
  document.addEventListener("visibilitychange", () => document.hidden || check());
})();
