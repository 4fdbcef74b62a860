// @ts-check
/**
 * The page: finds its elements, holds its state and ties pen, sheet and server together. The only
 * file that queries the DOM. State, as main's data-state: "empty", "drawing", "reading", "answer",
 * "problem", or "outdated", drawn on since the answer or problem that is shown.
 *
 * @typedef {import("./geometry.js").Point} Point
 * @typedef {(texts: import("./texts.js").Texts) => readonly string[]} Saying title and detail
 */

import { ask, hasDigit, isAnswer, question } from "./api.js";
import { extend, isDot } from "./geometry.js";
import { DIGITS, QUESTION, pathAlong } from "./glyphs.js";
import { change, redo, startHistory, undo } from "./history.js";
import { useQuestions } from "./live.js";
import { usePointer } from "./pen.js";
import { play, sampleOf } from "./sample.js";
import { paintPixels, useSheet } from "./sheet.js";
import { TEXTS, answerText, languageOf, percent, troubleText } from "./texts.js";

/** @type {Saying} */
const thanks = (texts) => texts.thanks;
const GLYPH = 118; // units of the glyphs, from digit to digit
const NOTHING = Array(10).fill(0); // the bars without an answer
const ONLINE = 1000; // ms; the network is there a moment after the browser says so

startPage();

/** Starts what ends with the page itself. */
function startPage() {
  const [book, mark] = [find("main"), find(".mark")];
  const [ink, seen, bars, inside, correction, verdict, detail] = [
    "#ink", "#seen", "#bars", "#inside", "#correction", "#verdict", "#detail",
  ].map(find);

  let history = startHistory([]); // of lists of strokes
  /** @type {Point[] | null} */
  let live = null; // the stroke being drawn
  /** @type {Point[]} */
  let ahead = []; // where its pen will be, perhaps
  /** @type {Point[][]} */
  let ghost = []; // the example on the empty sheet
  let stopPlaying = () => {};
  let example = 2; // the digit that draws itself next

  let state = "empty";
  /** @type {Saying} */
  let say = start; // what the page says
  let answer = null; // the one shown
  let read = history.now; // the strokes that it is of
  let mayRetry = false;
  let takesCorrections = false; // the server does
  let texts = TEXTS.en;
  let insideModule = null; // once opened
  let isInside = false; // opened, or asked for

  const sheet = useSheet(ink, find("#over"), () => {
    const isRead = state === "answer" && hasDigit(answer);
    const digits = isRead ? answer.digits : [];
    return { strokes: history.now, live, ahead, ghost, digits };
  });

  const questions = useQuestions({
    ask: (strokes, signal) => ask(urlOf("api/predict"), question(strokes), isAnswer, { signal }),
    onWait(wait) {
      [state, say] = ["reading", (texts) => texts[wait]];
      render();
    },
    onOutcome(outcome, strokes) {
      if (outcome.kind === "answer") {
        read = strokes;
        settle("answer", (texts) => answerText(texts, outcome.answer), outcome.answer);
        if (isInside) openInside();
        return;
      }
      settle("problem", (texts) => troubleText(texts, outcome), null, true);
      if (outcome.kind === "limited") questions.soon(strokes, 1000 * outcome.seconds);
    },
  });

  /** @type {Saying} */
  function start(texts) {
    return navigator.onLine ? texts.start : texts.offline;
  }

  /** Say how a question ended, or that none was asked. */
  function settle(nextState, nextSay, nextAnswer, retry = false) {
    [state, say, answer, mayRetry] = [nextState, nextSay, nextAnswer, retry];
    closeCorrection();
    if (answer === null) closeInside();
    render();
    showAnswer();
  }

  /** Show the state in words and buttons. */
  function render() {
    book.dataset.state = state;
    const [title, more] = say(texts);
    if (verdict.textContent !== title) verdict.textContent = title; // else it is spoken again
    if (detail.textContent !== more) detail.textContent = more;
    detail.classList.toggle("sure", hasDigit(answer));
    find("#retry").hidden = state !== "problem" || !mayRetry;
    find("#wrong").hidden = state !== "answer" || !takesCorrections || say === thanks;
    find("#inside-open").disabled = answer === null;
    find("#foot").textContent = takesCorrections ? texts.page.footOpen : texts.page.foot;
    const { past, now, next } = history;
    // Not `disabled`: a button that did its last would lose the focus.
    find("#undo").ariaDisabled = past.length === 0;
    find("#redo").ariaDisabled = next.length === 0;
    find("#erase").ariaDisabled = find("#clear").ariaDisabled = now.length === 0;
  }

  /** Show the answer in pictures: the mark, the bars, what the network saw. */
  function showAnswer() {
    const digits = answer?.digits ?? [];
    const isNumber = digits.length > 1;
    const glyphs = digits.map(({ is_digit, digit }) => (is_digit ? DIGITS[digit] : QUESTION));
    if (answer === null) glyphs.push(QUESTION);
    mark.setAttribute("viewBox", `-12 -10 ${GLYPH * glyphs.length + 6} 160`);
    mark.replaceChildren(...glyphs.map((d, i) => pathOf(d, GLYPH * i)));
    mark.classList.toggle("waiting", answer === null);
    if (glyphs[0] === QUESTION && digits.length === 1) {
      mark.append(pathOf(DIGITS[answer.digit], 78, "guess"));
    }
    const best = hasDigit(answer) ? answer.digit : -1;
    const shares = isNumber ? digits : (answer?.probabilities ?? NOTHING);
    find("#caption").textContent = isNumber ? texts.page.each : texts.page.chances;
    showBars(bars, answer !== null, shares.map((share, i) => {
      if (!isNumber) return { name: i, share, isBest: i === best };
      const { digit, is_digit, confidence } = share;
      return { name: is_digit ? digit : "?", share: confidence, isBest: is_digit };
    }));
    const images = digits.map((each) => each.image); // side by side
    paintPixels(seen, images[0]?.map((_, row) => images.flatMap((image) => image[row])) ?? []);
    sheet.repaint(false);
  }

  function predict() {
    // Never two at once, nor by a second hand before the stroke is done.
    if (questions.isAsking() || live !== null) return;
    if (history.now.length === 0) settle("empty", (texts) => texts.empty, null);
    else if (isDot(history.now)) settle("problem", (texts) => texts.dot, null);
    else questions.now(history.now);
  }

  function turnTo(next) {
    stopPlaying();
    questions.drop();
    [history, live, ahead, ghost] = [next, null, [], []];
    sheet.repaint();
    if (history.now.length > 0) {
      outdate();
      askSoon();
      return;
    }
    settle("empty", start, null);
    // A digit in faint ink draws itself on the empty sheet.
    stopPlaying = play(sampleOf(example), {
      onStart: (point) => ghost.push([point]),
      onMove(points) {
        ghost.at(-1)?.push(...points);
        sheet.repaint(false);
      },
      onEnd() {},
    });
  }

  function outdate() {
    state = say === start ? "drawing" : "outdated";
    closeCorrection();
    render();
  }

  function askSoon() {
    if (!isDot(history.now)) questions.soon(history.now);
  }

  function clear() {
    const isEmpty = history.now.length === 0;
    if (!isEmpty || live !== null) example = (example + 1) % DIGITS.length;
    turnTo(isEmpty ? history : change(history, []));
  }

  function erase() {
    if (history.now.length > 0) turnTo(change(history, history.now.slice(0, -1)));
  }

  /** @type {import("./pen.js").Pen} */
  const pen = {
    onStart(point) {
      questions.drop();
      ink.classList.add("drawn"); // no frame for a focus that nobody moved here
      // From the button used last, which Enter would press again; a finger does not by itself.
      ink.focus({ preventScroll: true });
      [live, ahead, ghost] = [[point], [], []];
      outdate();
      sheet.repaint(false);
    },
    onMove(points, next) {
      if (live === null) return; // cleared in the middle of it
      extend(live, points);
      ahead = next;
      sheet.repaint(false);
    },
    onEnd() {
      if (live === null) return;
      sheet.finish();
      history = change(history, [...history.now, live]);
      [live, ahead] = [null, []];
      render();
      askSoon();
    },
    onDrop: () => turnTo(history),
  };

  function drawExample(digit) {
    stopPlaying();
    if (history.now.length > 0) history = change(history, []);
    sheet.repaint();
    stopPlaying = play(sampleOf(digit), pen);
  }

  async function openInside() {
    isInside = true;
    insideModule ??= await load("./inside.js");
    if (insideModule === null) closeInside();
    if (!isInside) return;
    const about = { texts, strokes: read, digits: answer.digits, onClose: closeInside };
    await insideModule.openInside(inside, urlOf("api/explain"), about);
    find("#inside-open").ariaExpanded = !inside.hidden;
  }

  function closeInside() {
    isInside = false;
    insideModule?.stop();
    if (inside.contains(document.activeElement)) find("#inside-open").focus();
    inside.hidden = true;
    find("#inside-open").ariaExpanded = false;
  }

  async function openCorrection() {
    const module = await load("./correction.js");
    if (module === null || state !== "answer") return;
    find("#wrong").ariaExpanded = true;
    const strokes = history.now;
    module.openCorrection(correction, urlOf("api/corrections"), texts, strokes, (outcome) => {
      if (history.now !== strokes || live !== null) return; // drawn on meanwhile
      if (outcome.kind === "answer") {
        settle("answer", thanks, answer);
        ink.focus({ preventScroll: true });
        return;
      }
      // The form stays, and what is in it.
      [state, say, mayRetry] = ["problem", (texts) => troubleText(texts, outcome), false];
      render();
    });
  }

  function closeCorrection() {
    correction.hidden = true;
    find("#wrong").ariaExpanded = false;
  }

  /** A module that is loaded when it is first needed; null, and said so, where that fails. */
  async function load(path) {
    try {
      const module = await import(path);
      await module.prepare?.();
      return module;
    } catch {
      settle("problem", (texts) => texts[navigator.onLine ? "lost" : "offline"], answer);
      return null;
    }
  }

  /** Say everything in a language. */
  function speak(tag) {
    texts = TEXTS[tag];
    Object.assign(document.documentElement, { lang: tag, dir: texts.dir });
    document.title = `numdraw: ${texts.page.draw}`;
    for (const element of /** @type {any} */ (document.querySelectorAll("[data-text], [data-label]"))) {
      const { text, label } = element.dataset;
      if (text) element.textContent = texts.page[text];
      else element.ariaLabel = texts.page[label];
      if (label && element.type) element.title = element.ariaLabel; // of buttons
    }
    const other = Object.keys(TEXTS).find((each) => each !== tag);
    Object.assign(find("#language"), { lang: other, textContent: TEXTS[other].language });
    closeCorrection();
    render();
    showAnswer();
    if (isInside) openInside();
  }

  function key(event) {
    const { target, altKey, ctrlKey, metaKey, shiftKey } = event;
    if (event.key === "Tab") ink.classList.remove("drawn");
    if (altKey || target.closest("input")) return;
    if (ctrlKey || metaKey) {
      const pressed = event.key.toLowerCase();
      if (pressed !== "z" && pressed !== "y") return;
      event.preventDefault();
      turnTo(shiftKey || pressed === "y" ? redo(history) : undo(history));
    } else if (event.repeat) return;
    else if (event.key === "Enter" && !target.closest("a, button")) predict();
    else if (event.key === "Delete") clear();
    else if (event.key === "Backspace") erase();
    else if (event.key === "Escape" && live !== null) pen.onDrop();
    else if (target === ink && /^\d$/.test(event.key)) drawExample(Number(event.key));
  }

  const buttons = {
    undo: () => turnTo(undo(history)),
    redo: () => turnTo(redo(history)),
    erase,
    clear,
    predict,
    retry: predict,
    example: () => drawExample(example),
    wrong: () => (correction.hidden ? openCorrection() : closeCorrection()),
    "inside-open": () => (isInside ? closeInside() : openInside()),
    language: () => speak(find("#language").lang),
  };
  usePointer(ink, {
    ...pen,
    onStart(point) {
      stopPlaying();
      pen.onStart(point);
    },
  });
  for (const [id, press] of Object.entries(buttons)) {
    find(`#${id}`).addEventListener("click", press);
  }
  addEventListener("keydown", key);
  addEventListener("offline", render);
  addEventListener("online", () => {
    if (state === "problem" && mayRetry) questions.soon(history.now, ONLINE);
    else render();
  });
  for (const feature of ["prefers-color-scheme: dark", "forced-colors: active"]) {
    const recolour = () => {
      sheet.repaint();
      showAnswer();
      insideModule?.repaint();
    };
    matchMedia(`(${feature})`).addEventListener("change", recolour);
  }
  speak(languageOf([new URLSearchParams(location.search).get("lang"), ...navigator.languages]));
  clear();
  navigator.serviceWorker?.register(urlOf("sw.js")).catch(() => {}); // the page does without
  ask(urlOf("api/corrections"), null, (body) => typeof body?.enabled === "boolean").then((outcome) => {
    takesCorrections = outcome.kind === "answer" && outcome.answer.enabled;
    render();
  });
}

function showBars(list, isSaid, shares) {
  while (list.children.length > shares.length) list.lastChild.remove();
  shares.forEach(({ name, share, isBest }, i) => {
    const bar = list.children[i] ?? list.appendChild(document.createElement("li"));
    if (!bar.firstChild) bar.innerHTML = "<b></b><i></i><span></span>";
    const [label, column, value] = bar.children;
    label.textContent = name;
    column.style.setProperty("--share", share);
    value.textContent = isSaid ? percent(share) : "";
    bar.classList.toggle("best", isBest);
    bar.classList.toggle("unlikely", share < 0.01);
  });
}

function pathOf(d, left, name = "") {
  const path = pathAlong(d);
  const attributes = { pathLength: 1, transform: `translate(${left})`, class: name };
  for (const [name, value] of Object.entries(attributes)) path.setAttribute(name, value);
  return path;
}

/** An address of this site, right under a path prefix too. */
function urlOf(path) {
  return new URL(path, document.baseURI);
}

/** @returns {any} the page's element that the selector names */
function find(selector) {
  const element = document.querySelector(selector);
  if (element === null) throw new TypeError(`page expected an element ${selector}, got none`);
  return element;
}
