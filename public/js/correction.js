// @ts-check
/** "No, it was ...": sends a misread drawing with what it was. Loaded when it is opened. */

import { ask } from "./api.js";
import { toSend } from "./geometry.js";

/** Asks in the container what it was, and tells what came of sending that. */
export function openCorrection(container, url, { page }, strokes, onOutcome) {
  container.innerHTML = `<form>
    <label>${page.label} <input id="label" inputmode="numeric" pattern="[0-9]{1,20}" required
      autocomplete="off" title="${page.labelHint}"></label>
    <button>${page.store}</button>
    <button type="button">${page.nothing}</button>
    <p>${page.stored}</p>
  </form>`;
  container.hidden = false;
  const form = /** @type {HTMLFormElement} */ (container.firstChild);
  const [input, , nothing] = /** @type {any} */ (form.elements);
  let isSending = false;
  const send = async (label) => {
    if (isSending) return; // a second press would store it twice
    isSending = true;
    onOutcome(await ask(url, { strokes: toSend(strokes), label }, (body) => body?.stored === true));
    isSending = false;
  };
  nothing.addEventListener("click", () => send(""));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(input.value);
  });
  input.focus();
}
