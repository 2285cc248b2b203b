// Streams answers to the page, stops them, and measures how long a correction takes. Questions and answers exist only in this tab.
// Without this script, the form loads a page when the answer is complete.
"use strict";

(() => {
  const form = document.querySelector("#ask");
  const list = document.querySelector("#exchanges");
  const question = document.querySelector("#question");
  const state = document.querySelector("#ask-state");
  const stop = document.querySelector("#stop");
  const send = form.querySelector("button.primary");
  let asking = null;

  const words = (status) => (status === 401
    ? "Your session has ended. Sign in again in another tab. Your text stays on this page."
    : `The request failed (status ${status}). Your text stays on this page.`);

  // One JSON object on each line: pieces of text, then the HTML of the whole exchange, or an error.
  const read = async (reply, take) => {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (held + value).split("\n");
      held = lines.pop();
      lines.forEach((line) => take(JSON.parse(line)));
    }
  };

  const show = (pending, part) => {
    if (part.text) pending.querySelector(".said").append(part.text);
    if (part.error) throw new Error(part.error);
    if (!part.html) return pending;
    const made = document.createRange().createContextualFragment(part.html);
    const whole = made.firstElementChild;
    pending.replaceWith(whole);
    window.htmx?.process(whole);
    state.textContent = `Answered by release ${whole.dataset.release}.`;
    question.value = "";
    return whole;
  };

  // The page's product line, which the browser may have left in another tab.
  const line = document.body.dataset.line ? { "x-line": document.body.dataset.line } : {};

  const ask = async () => {
    let shown = document.querySelector("#pending").content.firstElementChild.cloneNode(true);
    const task = form.querySelector("#ask-task");
    const instruction = task?.value ? `${task.selectedOptions[0].textContent}\n\n` : "";
    shown.querySelector(".asked").textContent = instruction + question.value.trim();
    list.prepend(shown);
    const body = new URLSearchParams(new FormData(form));
    const reply = await fetch(form.dataset.stream, { method: "POST", body, signal: asking.signal, headers: { "hx-request": "true", ...line } });
    const isOurs = reply.headers.get("content-type")?.startsWith("application/x-ndjson");
    try {
      if (!reply.ok || !isOurs) throw new Error(words(reply.status));
      await read(reply, (part) => { shown = show(shown, part); });
      if (!shown.dataset.release) throw new Error("The answer is incomplete. Ask again.");
    } catch (error) {
      if (!shown.dataset.release) shown.remove();
      throw error;
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    asking = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    state.textContent = "The model is answering.";
    try {
      await ask();
    } catch (error) {
      list.querySelectorAll(".exchange:not([data-release], [aria-label='Your answer to the model'])").forEach((left) => left.remove());
      const isStopped = error.name === "AbortError";
      state.textContent = isStopped ? "Stopped. Your question is still here." : error instanceof TypeError ? "The desk can't be reached. Your text stays on this page." : error.message;
    }
    asking = null;
    send.disabled = false;
    stop.hidden = true;
    question.focus();
  });
  stop.addEventListener("click", () => asking?.abort());

  // Seconds since the correction was first opened. Uses click, because a toggle event can arrive after the submit.
  const opened = new WeakMap();
  list.addEventListener("click", (event) => {
    const exchange = event.target.closest(".correct summary")?.closest(".exchange");
    if (exchange && !opened.has(exchange)) opened.set(exchange, performance.now());
  });
  list.addEventListener("submit", (event) => {
    const since = opened.get(event.target.closest(".exchange"));
    const seconds = event.target.elements.seconds_spent;
    if (seconds && since !== undefined) seconds.value = String(Math.round((performance.now() - since) / 1000));
  }, true);

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.ctrlKey || event.target.tagName !== "TEXTAREA") return;
    event.preventDefault();
    event.target.form.requestSubmit();
  });
  addEventListener("beforeunload", (event) => {
    const changed = [...list.querySelectorAll("textarea")].some((text) => text.value !== text.defaultValue);
    if (changed || asking) event.preventDefault();
  });
})();
