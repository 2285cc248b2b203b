// The desk's one script. Owns what a page does by itself: theme, dialogs, keys, marking a selection, and what is said when
// the server could not be asked. Everything that counts is decided by the server.
"use strict";

(() => {
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Theme: what the system says, until somebody chooses. The server writes the choice into the page: no flash.
  one("[data-theme-toggle]")?.addEventListener("click", () => {
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    document.cookie = `desk-theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  });

  // What went wrong while a part of the page was asked for. What was typed stays where it is.
  let hiding;
  const say = (text) => {
    const notice = one("#notice");
    notice.textContent = text;
    notice.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { notice.hidden = true; }, 8000);
  };
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    const words = {
      401: "Your session is over. Sign in again in another tab; what you typed here stays.",
      409: "Somebody else has this item by now, or it is held back. What you typed here stays.",
    };
    say(words[status] ?? `The desk could not do that (${status}). What you typed here stays.`);
  });
  document.addEventListener("htmx:sendError", () => say("The desk can't be reached. What you typed here stays."));

  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method === "dialog") return;
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "yes";
    leaving = true;
    document.body.classList.add("is-going");
  });
  addEventListener("pageshow", () => {
    all("form[data-sent]").forEach((form) => delete form.dataset.sent);
    document.body.classList.remove("is-going");
  });

  // Dialogs: opened by whatever names them, closed by their own button, Escape, or a click beside them.
  const open = (name) => {
    const dialog = document.getElementById(name);
    if (!dialog || dialog.open) return;
    dialog.showModal();
    const isShown = (part) => part.getClientRects().length > 0;
    const first = [...all("[autofocus]", dialog), ...all("input:not([type=hidden]), select, textarea, button", dialog)];
    first.find(isShown)?.focus();
  };
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) open(opener.dataset.open);
    const closer = event.target.closest("[data-close]");
    if (closer) closer.closest("dialog").close();
    if (event.target.matches?.("dialog[open]")) event.target.close();
  });

  // The editor of an item.
  let leaving = false;
  const editor = one("#output");
  const isChanged = () => editor !== null && editor.value.trim() !== one("#draft-text").value.trim();
  const edit = (isOpen) => {
    if (!editor) return;
    one("#editing").hidden = !isOpen;
    one("#reading").hidden = isOpen;
    const button = one("[data-edit]");
    button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) { editor.focus(); editor.setSelectionRange(0, 0); editor.scrollTop = 0; } else button.focus();
  };
  const showState = () => {
    if (!editor) return;
    all("[data-when-changed]").forEach((part) => { part.hidden = !isChanged(); });
    all("[data-when-same]").forEach((part) => { part.hidden = isChanged(); });
  };
  if (editor) {
    one("[data-edit]").addEventListener("click", () => edit(one("#editing").hidden));
    one("[data-restore]")?.addEventListener("click", () => {
      editor.value = one("#draft-text").value;
      editor.dispatchEvent(new Event("input", { bubbles: true }));
      editor.focus();
    });
    editor.addEventListener("input", showState);
    // The output goes with every form of the page that asks for it, so that a refusal can give it back.
    document.addEventListener("submit", (event) => {
      all("[data-output]", event.target).forEach((field) => { field.value = editor.value; });
    }, true);
    addEventListener("beforeunload", (event) => {
      if (isChanged() && !leaving) event.preventDefault();
    });
    if (isChanged()) edit(true);
    showState();
  }

  // "I see PHI here": the text that is selected in the report, the input or the output.
  const selectedText = () => {
    const field = document.activeElement;
    if (field === editor && editor !== null) return editor.value.slice(editor.selectionStart, editor.selectionEnd);
    const selection = getSelection();
    if (selection.isCollapsed || selection.rangeCount === 0) return "";
    const inside = (node) => (node.nodeType === 1 ? node : node.parentElement)?.closest("[data-markable]");
    return inside(selection.anchorNode) && inside(selection.focusNode) ? selection.toString() : "";
  };
  const markPhi = (text) => {
    if (!one("#mark-dialog")) return;
    if (!text.trim()) { say("Select the words that tell who somebody is, then press p."); return; }
    one("#mark-term").value = text.trim();
    one("#mark-shown").textContent = text.trim();
    open("mark-dialog");
  };
  const marker = one("[data-mark]");
  if (marker) {
    let held = "";
    // The click itself would end the selection.
    marker.addEventListener("pointerdown", () => { held = selectedText(); });
    marker.addEventListener("click", () => { markPhi(held || selectedText()); held = ""; });
  }

  // Keys. Never while somebody types, never with Ctrl, Alt or Meta, and not under a dialog.
  const isTyping = (element) => element?.closest?.("input, select, textarea, [contenteditable]") != null;
  const rows = () => all("[data-row]");
  let chosen = -1;
  const choose = (step) => {
    const list = rows();
    if (list.length === 0) return;
    chosen = Math.min(Math.max(chosen + step, 0), list.length - 1);
    list.forEach((row, index) => row.classList.toggle("is-chosen", index === chosen));
    const link = one("a", list[chosen]);
    link.focus();
    list[chosen].scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    const shown = one("dialog[open]");
    // Not left to the browser alone: it may take a second Escape for the second dialog of a page.
    if (event.key === "Escape" && shown) { event.preventDefault(); shown.close(); return; }
    if (event.key === "Escape" && document.activeElement === editor && editor !== null) { edit(false); return; }
    if (event.ctrlKey && event.key === "Enter" && document.activeElement === editor && editor !== null) { event.preventDefault(); open("approve-dialog"); return; }
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (isTyping(event.target) || shown) return;
    if (event.key === "j" || event.key === "k") { choose(event.key === "j" ? 1 : -1); event.preventDefault(); return; }
    if (event.key === "p" && marker) { markPhi(selectedText()); event.preventDefault(); return; }
    const target = one(`[data-key="${CSS.escape(event.key)}"]`);
    if (target && !target.closest("[hidden]")) { event.preventDefault(); target.click(); }
  });
})();
