// Script of all pages: theme, dialogs, keyboard shortcuts, marking a selection, the warning before unsaved changes are lost, and
// messages for failed requests. The server makes every decision.
"use strict";

(() => {
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const isVisible = (part) => part.getClientRects().length > 0;

  // Theme: the system's until the user chooses one. The server renders the chosen theme, so that the page does not flash.
  one("[data-theme-toggle]")?.addEventListener("click", () => {
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    document.cookie = `desk-theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  });

  // The menu of small windows.
  one("[data-menu]")?.addEventListener("click", (event) => {
    const isOpen = one("#menu").classList.toggle("is-open");
    event.currentTarget.setAttribute("aria-expanded", String(isOpen));
  });

  // The list of product lines closes with Escape, and when the focus or a click is elsewhere.
  all("details[data-closes]").forEach((list) => {
    const close = () => { list.open = false; };
    list.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && list.open) { close(); one("summary", list).focus(); }
    });
    list.addEventListener("focusout", (event) => { if (event.relatedTarget && !list.contains(event.relatedTarget)) close(); });
    document.addEventListener("click", (event) => { if (!list.contains(event.target)) close(); });
  });

  // Messages for failed fragment requests. They leave the user's text unchanged.
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
      401: "Your session has ended. Sign in again in another tab. Your text stays on this page.",
      409: "Another reviewer has this item, or it is withheld. Your text stays on this page.",
    };
    say(words[status] ?? `The request failed (status ${status}). Your text stays on this page.`);
  });
  document.addEventListener("htmx:sendError", () => say("The desk can't be reached. Your text stays on this page."));

  // Screen readers announce only what changes in a page, so the notice of the last form is repeated in a new element.
  const said = one("[data-announce]");
  if (said) {
    const announced = document.createElement("p");
    announced.className = "unseen";
    announced.setAttribute("role", "status");
    document.body.append(announced);
    const undo = one("[data-undo] button");
    setTimeout(() => { announced.textContent = said.textContent.trim() + (undo ? ". To undo, press u." : ""); }, 100);
  }

  // The offer to undo ends after some seconds, but not while it has the focus or the pointer.
  const offer = one("[data-undo]");
  if (offer) {
    const form = one("form", offer);
    const end = () => {
      if (form.matches(":focus-within, :hover")) setTimeout(end, 1000);
      else form.hidden = true;
    };
    setTimeout(end, Number(offer.dataset.undo) * 1000);
  }

  // Number of ticked cases.
  all("[data-ticked]").forEach((figure) => {
    const boxes = all(`[name="${figure.dataset.ticked}"]`);
    const count = () => { figure.textContent = `${boxes.filter((box) => box.checked).length} of ${boxes.length} ticked`; };
    boxes.forEach((box) => box.addEventListener("change", count));
    count();
  });

  // Forms with a [data-output] field send the changed text; any other way to leave the page asks for confirmation first.
  const editor = one("#output");
  const isChanged = () => editor !== null && editor.value.trim() !== one("#draft-text").value.trim();
  const isEdited = () => editor !== null && editor.value.trim() !== (one("#shown-text") ?? one("#draft-text")).value.trim();
  // The server keeps the text of each comparison, so leaving the page loses only what was typed since the last one.
  let kept = editor?.dataset.kept === undefined ? null : editor.value;
  let compared = null;
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt === editor) compared = editor.value;
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt === editor && event.detail.successful) kept = compared;
  });
  // An adjudicator's own text is sent with its form.
  const own = one("#own-text");
  const isUnsaved = () => (isEdited() && editor.value !== kept) || (own !== null && own.value !== own.defaultValue);
  let leaving = false;
  let goOn = null;
  const askBefore = (event, go, dialog = "leave-dialog") => {
    event.preventDefault();
    event.stopImmediatePropagation();
    goOn = go;
    open(dialog);
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method === "dialog" || form.dataset.leaves) return;
    const fields = all("[data-output]", form);
    const send = () => { form.dataset.leaves = "yes"; form.requestSubmit(); };
    if (form.dataset.ask) {
      one("#ask-what").textContent = form.dataset.ask;
      askBefore(event, send, "ask-dialog");
    } else if (fields.length === 0 && isUnsaved() && !form.contains(own)) {
      askBefore(event, send);
    }
    if (editor) fields.forEach((field) => { field.value = editor.value; });
  }, true);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    const isHere = !link || link.target === "_blank" || link.getAttribute("href").startsWith("#");
    if (isHere || leaving || !isUnsaved() || event.ctrlKey || event.metaKey || event.shiftKey) return;
    askBefore(event, () => { leaving = true; link.click(); });
  }, true);
  one("[data-go-on]")?.addEventListener("click", (event) => { event.target.closest("dialog").close(); goOn?.(); });
  addEventListener("beforeunload", (event) => {
    if (isUnsaved() && !leaving) event.preventDefault();
  });

  // Send each form only once, even if its button is pressed repeatedly.
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

  // Dialogs: opened by elements with data-open, closed by their button, Escape, or a click outside.
  const open = (name) => {
    const dialog = document.getElementById(name);
    if (!dialog || dialog.open) return;
    all("[data-when-unsaved]", dialog).forEach((part) => { part.hidden = !isEdited(); });
    dialog.showModal();
    if (name === "approve-dialog") prepareSigning();
    focusFirst(dialog);
  };
  const focusFirst = (dialog) => {
    const first = [...all("[autofocus], [data-focus]", dialog), ...all("input:not([type=hidden]), select, textarea, button", dialog)];
    first.find(isVisible)?.focus();
  };
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) open(opener.dataset.open);
    const closer = event.target.closest("[data-close]");
    if (closer) closer.closest("dialog").close();
    if (event.target.matches?.("dialog[open]")) event.target.close();
  });

  // The server renders the text to sign as it would be recorded, unless the dialog already shows this text.
  const toSign = one("#to-sign");
  let prepared = toSign && editor ? editor.value : null;
  const isSigning = (event) => event.detail.elt === toSign;
  const prepareSigning = () => {
    if (editor.value === prepared) return;
    prepared = null;
    toSign.replaceChildren(one("#signing-waits").content.cloneNode(true));
    htmx.ajax("POST", toSign.dataset.from, { source: toSign, target: toSign, swap: "innerHTML", values: { output: editor.value } });
  };
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!toSign || event.detail.target !== toSign) return;
    prepared = editor.value;
    focusFirst(one("#approve-dialog"));
    // When htmx settles, it would move the focus to `autofocus` again, away from where the user is by then.
    all("[autofocus]", toSign).forEach((part) => { part.removeAttribute("autofocus"); part.dataset.focus = ""; });
  });
  const failSigning = (event) => {
    if (!toSign || !isSigning(event)) return;
    toSign.replaceChildren(one("#signing-failed").content.cloneNode(true));
    focusFirst(one("#approve-dialog"));
  };
  document.addEventListener("htmx:responseError", failSigning);
  document.addEventListener("htmx:sendError", failSigning);

  // The editor of an item.
  const edit = (isOpen, takesFocus = true) => {
    if (!editor) return;
    one("#editing").hidden = !isOpen;
    one("#reading").hidden = isOpen;
    const button = one("[data-edit]");
    button.setAttribute("aria-expanded", String(isOpen));
    if (!takesFocus) return;
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
    if (isChanged()) edit(true, !("kept" in editor.dataset)); // a restored edit leaves the keys of the page usable
    showState();
  }

  // A flag shows its place in the text: while the pointer or the focus is on it, and when it is clicked. A flag of the whole
  // output has no numbered place.
  const placesOf = (flag) => {
    const around = flag.closest(".pane, dialog");
    const found = all(`mark[data-flags~="${flag.dataset.flag}"]`, around).filter(isVisible);
    return found.length > 0 ? found : all("[data-flagged], .tosign", around).filter(isVisible);
  };
  const light = (event, isLit) => {
    const flag = event.target.closest?.("[data-flag]");
    if (flag) placesOf(flag).forEach((place) => place.classList.toggle("is-lit", isLit));
  };
  // A sentence of a model's output shows its source, and a source its sentences.
  const lightSources = (event, isLit) => {
    const numbers = event.target.closest?.("[data-sources]")?.dataset.sources.split(" ") ?? [];
    const parts = numbers.flatMap((number) => all(`[data-sources~="${number}"]`));
    parts.forEach((part) => part.classList.toggle("is-lit", isLit));
  };
  for (const show of [light, lightSources]) {
    for (const name of ["mouseover", "focusin"]) document.addEventListener(name, (event) => show(event, true));
    for (const name of ["mouseout", "focusout"]) document.addEventListener(name, (event) => show(event, false));
  }
  document.addEventListener("click", (event) => {
    const flag = event.target.closest("[data-find-flag], .acknowledge [data-flag]")?.closest("[data-flag]");
    if (flag) placesOf(flag)[0]?.scrollIntoView({ block: "nearest" });
  });

  // "I see PHI here": use the selection in report, input or output, otherwise typed text.
  const selectedText = () => {
    const field = document.activeElement;
    if (field === editor && editor !== null) return editor.value.slice(editor.selectionStart, editor.selectionEnd);
    const selection = getSelection();
    if (selection.isCollapsed || selection.rangeCount === 0) return "";
    const inside = (node) => (node.nodeType === 1 ? node : node.parentElement)?.closest("[data-markable]");
    return inside(selection.anchorNode) && inside(selection.focusNode) ? selection.toString() : "";
  };
  const markPhi = (text) => {
    one("#mark-term").value = text.trim().replace(/\s+/g, " ");
    open("mark-dialog");
    one(text.trim() ? "#mark-kind" : "#mark-term").focus();
  };
  const marker = one("[data-mark]");
  if (marker) {
    let held = "";
    // The click clears the selection, so read it before.
    marker.addEventListener("pointerdown", () => { held = selectedText(); });
    marker.addEventListener("click", () => { markPhi(held || selectedText()); held = ""; });
  }

  // Menu and dock overlap the page: scroll targets, such as the line being typed, must stay visible between them.
  for (const [name, bar] of [["--top", one(".top")], ["--dock", one(".dock")]]) {
    if (bar) new ResizeObserver(() => { root.style.setProperty(name, `${bar.offsetHeight}px`); }).observe(bar);
  }

  // Shortcuts: not while the user types, not with Ctrl, Alt or Meta, and not while a dialog is open.
  const typed = "input:not([type=radio], [type=checkbox]), select, textarea, [contenteditable]";
  const isTyping = (element) => element?.closest?.(typed) != null;
  all("[data-then-focus]").forEach((choice) => choice.addEventListener("click", (event) => {
    // On a mouse click or a shortcut, but not on arrow keys, which only move through the choices.
    if (event.detail > 0 || !choice.matches(":focus")) document.getElementById(choice.dataset.thenFocus).focus();
  }));
  const rows = () => all("[data-row]");
  let chosen = -1;
  const choose = (step) => {
    const list = rows();
    if (list.length === 0) return;
    chosen = Math.min(Math.max(chosen + step, 0), list.length - 1);
    list.forEach((row, index) => row.classList.toggle("is-chosen", index === chosen));
    const link = one("a, summary", list[chosen]);
    link.focus();
    list[chosen].scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    const shown = one("dialog[open]");
    // Browsers may need a second Escape for a page's second dialog, so close it here.
    if (event.key === "Escape" && shown) { event.preventDefault(); shown.close(); return; }
    if (event.key === "Escape" && document.activeElement === editor && editor !== null) { edit(false); return; }
    if (event.key === "Escape" && own !== null && isTyping(event.target)) { event.target.blur(); return; }
    if (event.ctrlKey && event.key === "Enter" && document.activeElement === editor && editor !== null) { event.preventDefault(); open("approve-dialog"); return; }
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (isTyping(event.target) || shown) return;
    if (event.key === "j" || event.key === "k") { choose(event.key === "j" ? 1 : -1); event.preventDefault(); return; }
    if (event.key === "p" && marker) { markPhi(selectedText()); event.preventDefault(); return; }
    const target = one(`[data-key="${CSS.escape(event.key)}"]`);
    if (target && !target.closest("[hidden]")) { event.preventDefault(); target.click(); }
  });
})();
