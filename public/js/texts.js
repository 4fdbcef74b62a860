// @ts-check
/**
 * All that the page says. `page` is by the names in the HTML; messages are a title and a detail.
 *
 * @typedef {typeof en} Texts
 */

import { hasDigit } from "./api.js";

const SURE = 0.9; // at least: a plain statement
const LIKELY = 0.6; // at least: "looks like"; below it a guess

const en = {
  language: "English",
  dir: "ltr",
  page: {
    model: "The model",
    api: "The API",
    draw: "Draw a number",
    sheet: "Sheet to draw on with mouse, finger or pen",
    keys: "By keyboard: a digit key draws that digit, Enter asks.",
    example: "Draw one for me",
    undo: "Undo",
    redo: "Redo",
    erase: "Erase the last stroke",
    clear: "Clear",
    predict: "Predict",
    answer: "What the network says",
    retry: "Try again",
    wrong: "No, it was …",
    chances: "How likely each digit is, in percent",
    each: "How sure it is of each digit, in percent",
    seen: "What the network saw",
    seenMore: "Your drawing, fitted and centred in 28×28 pixels, like the digits it learned from.",
    inside: "See inside",
    foot: "Your drawing goes to this server to be read. It is not kept.",
    footOpen: "Your drawing goes to this server to be read. It is kept only if you correct it.",
    label: "What was it?",
    labelHint: "the digits that you drew",
    store: "Teach it",
    nothing: "It was no digit",
    stored: "Stored here: this drawing, your correction, what was read, and today’s date. Nothing else.",
    back: "Close",
  },
  start: ["Your turn.", "Draw a digit or a whole number."],
  empty: ["The sheet is empty.", "Draw a digit on it first."],
  dot: ["That’s only a dot.", "Draw a whole digit."],
  reading: ["Reading …", ""],
  slow: ["Still reading …", "The network or the server is slow."],
  thanks: ["Thank you.", "The drawing and your correction are stored."],
  offline: ["You’re offline.", "You can draw, but reading needs the server. Your drawing stays."],
  lost: ["No answer from the server.", "Check your connection. Your drawing stays."],
  late: ["That took too long.", "The network or the server is slow. Your drawing stays."],
  failing: ["The server isn’t well.", "It may be restarting. Try again in a moment."],
  garbled: ["That answer makes no sense.", "Reload the page, then try again."],
  refused: "The server can’t take this.",
  limited: "A moment, please.",
  limitedMore: "Many questions came at once. The next is taken in {n} s.",
  sure: ["That’s {what}.", "Looks like {what}.", "Perhaps {what}?"],
  share: "{p}% sure",
  only: "only {p}% sure",
  more: "more than ",
  less: "less than ",
  noDigit: "That doesn’t look like a digit.",
  guess: "My best guess would be {what}: {share}.",
  a: (digit) => `${digit === 8 ? "an" : "a"} ${digit}`,
  inside: {
    title: "Inside the network",
    steps: "From your drawing to its image",
    boxed: ["Find the ink", "A box is drawn around all of it."],
    fitted: ["Fit it", "Scaled to 20×20 pixels, its shape kept, and drawn by a pen of one width."],
    centred: ["Centre it", "Moved so that the ink’s centre of mass (the dot) is in the middle."],
    spoke: "What spoke for it",
    spokeMore:
      "Each place was covered in turn. Red ink spoke for {what}, the other ink against it: " +
      "without it the network would be less, or more, sure.",
    why: "Ask about another digit:",
    layers: "Layer by layer",
    layersMore:
      "Choose a map: over the image, red is where it answers, the frame what it answers to most.",
    map: "Map {i} of {n}",
    first: "Each map slides a filter of {k}×{k} pixels over the image and marks what fits it.",
    deeper: "Each map looks for an arrangement of the shapes found before, in {k}×{k} pixels.",
    pooled: "Each map keeps the strongest answers of one before, and so each pixel sees {k}×{k}.",
    units: "Each unit weighs all that came before; bright ones say yes.",
    last: "The sums",
    lastMore: "All of it is added up, for each digit and for “no digit”; the largest sum wins.",
    none: "none",
    digit: "Digit {i}: {what}",
  },
};

/** @type {Texts} */
const de = {
  language: "Deutsch",
  dir: "ltr",
  page: {
    model: "Das Modell",
    api: "Die API",
    draw: "Zeichne eine Zahl",
    sheet: "Blatt zum Zeichnen mit Maus, Finger oder Stift",
    keys: "Mit der Tastatur: eine Zifferntaste zeichnet die Ziffer, Enter fragt.",
    example: "Zeichne mir eine vor",
    undo: "Rückgängig",
    redo: "Wiederholen",
    erase: "Letzten Strich radieren",
    clear: "Leeren",
    predict: "Lesen",
    answer: "Was das Netz sagt",
    retry: "Noch einmal",
    wrong: "Nein, es war …",
    chances: "Wie wahrscheinlich jede Ziffer ist, in Prozent",
    each: "Wie sicher jede Ziffer ist, in Prozent",
    seen: "Was das Netz sah",
    seenMore:
      "Deine Zeichnung, eingepasst und zentriert in 28×28 Pixel, wie die Ziffern, von denen es lernte.",
    inside: "Hineinsehen",
    foot: "Deine Zeichnung wird von diesem Server gelesen und nicht aufbewahrt.",
    footOpen: "Dieser Server liest deine Zeichnung und bewahrt sie nur auf, wenn du ihn berichtigst.",
    label: "Was war es?",
    labelHint: "die Ziffern, die du gezeichnet hast",
    store: "Beibringen",
    nothing: "Es war keine Ziffer",
    stored:
      "Gespeichert werden hier: die Zeichnung, deine Berichtigung, was gelesen wurde, das Datum. " +
      "Sonst nichts.",
    back: "Schließen",
  },
  start: ["Du bist dran.", "Zeichne eine Ziffer oder eine ganze Zahl."],
  empty: ["Das Blatt ist leer.", "Zeichne zuerst eine Ziffer."],
  dot: ["Das ist nur ein Punkt.", "Zeichne eine ganze Ziffer."],
  reading: ["Ich lese …", ""],
  slow: ["Ich lese noch …", "Das Netz oder der Server ist langsam."],
  thanks: ["Danke.", "Die Zeichnung und deine Berichtigung sind gespeichert."],
  offline: ["Du bist offline.", "Zeichnen geht, Lesen braucht den Server. Die Zeichnung bleibt."],
  lost: ["Der Server antwortet nicht.", "Prüfe die Verbindung. Die Zeichnung bleibt."],
  late: ["Das dauerte zu lange.", "Das Netz oder der Server ist langsam. Die Zeichnung bleibt."],
  failing: ["Dem Server geht es nicht gut.", "Vielleicht startet er neu. Versuche es gleich wieder."],
  garbled: ["Die Antwort ergibt keinen Sinn.", "Lade die Seite neu und versuche es noch einmal."],
  refused: "Der Server nimmt das nicht an.",
  limited: "Einen Moment bitte.",
  limitedMore: "Es kamen viele Fragen auf einmal. Die nächste wird in {n} s angenommen.",
  sure: ["Das ist {what}.", "Sieht aus wie {what}.", "Vielleicht {what}?"],
  share: "zu {p}\u00a0% sicher",
  only: "nur zu {p}\u00a0% sicher",
  more: "mehr als ",
  less: "weniger als ",
  noDigit: "Das sieht nicht nach einer Ziffer aus.",
  guess: "Am ehesten wäre es {what}: {share}.",
  a: (digit) => `eine ${digit}`,
  inside: {
    title: "Im Inneren des Netzes",
    steps: "Von der Zeichnung zu ihrem Bild",
    boxed: ["Die Tinte finden", "Ein Rahmen wird um alles gelegt."],
    fitted: ["Einpassen", "Auf 20×20 Pixel gebracht, die Form bleibt; gezeichnet mit einem Stift."],
    centred: ["Zentrieren", "So verschoben, dass der Schwerpunkt (der Punkt) in der Mitte liegt."],
    spoke: "Was dafür sprach",
    spokeMore:
      "Jede Stelle wurde einmal verdeckt. Rote Tinte sprach für {what}, die andere dagegen: " +
      "ohne sie wäre das Netz weniger oder mehr sicher.",
    why: "Nach einer anderen Ziffer fragen:",
    layers: "Schicht für Schicht",
    layersMore: "Wähle eine Karte: im Bild ist rot, wo sie antwortet, und im Rahmen, worauf am stärksten.",
    map: "Karte {i} von {n}",
    first: "Jede Karte schiebt einen Filter von {k}×{k} Pixeln über das Bild und zeigt, was passt.",
    deeper: "Jede Karte sucht eine Anordnung der Formen davor, in {k}×{k} Pixeln.",
    pooled: "Jede Karte behält die stärksten Antworten einer davor: jeder Punkt überblickt {k}×{k}.",
    units: "Jede Einheit wägt alles davor ab; helle sagen ja.",
    last: "Die Summen",
    lastMore: "Alles wird zusammengezählt, für jede Ziffer und „keine Ziffer“; die größte gewinnt.",
    none: "keine",
    digit: "Ziffer {i}: {what}",
  },
};

/** @type {Record<string, Texts>} */
export const TEXTS = { en, de };

/** The first of the wanted languages, as "de-AT", that the page speaks. */
export function languageOf(wanted) {
  const known = wanted.map((tag) => tag?.toLowerCase().split("-")[0]);
  return known.find((tag) => Object.hasOwn(TEXTS, tag ?? "")) ?? "en";
}

/** A text with its {names} filled in. */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** The answer in words and figures: title and detail. */
export function answerText(texts, answer) {
  const { digit, confidence, number, number_confidence, digits } = answer;
  const isNumber = digits.length > 1;
  const sure = isNumber ? number_confidence : confidence;
  const p = percentText(texts, sure);
  const share = fill(texts.share, { p });
  if (!hasDigit(answer)) {
    const what = isNumber ? number : texts.a(digit);
    return [texts.noDigit, fill(texts.guess, { what, share })];
  }
  const read = digits.map((each) => (each.is_digit ? each.digit : "?"));
  const what = isNumber ? read.join("") : texts.a(digit);
  const [plain, likely, perhaps] = texts.sure.map((text) => fill(text, { what }));
  if (sure >= SURE) return [plain, share];
  if (sure >= LIKELY) return [likely, share];
  return [perhaps, /^\d/.test(p) ? fill(texts.only, { p }) : share];
}

/**
 * What went wrong, and what to do: title and detail.
 *
 * @param {Texts} texts
 * @param {import("./api.js").Trouble} trouble
 */
export function troubleText(texts, trouble) {
  if (trouble.kind === "refused") return [texts.refused, sentence(trouble.detail)];
  if (trouble.kind !== "limited") return texts[trouble.kind];
  return [texts.limited, fill(texts.limitedMore, { n: trouble.seconds })];
}

/** A share as a whole percentage that never claims certainty: "87", ">99", "<1". */
export function percent(share) {
  if (share >= 0.995) return ">99";
  return share < 0.005 ? "<1" : String(Math.round(100 * share));
}

function percentText({ more, less }, share) {
  const p = percent(share);
  return p.replace(/^[<>]/, (sign) => (sign === ">" ? more : less));
}

/** The server's words, of at least one character, with a capital and a full stop. */
function sentence(words) {
  const capital = words[0].toUpperCase() + words.slice(1);
  return /[.!?)]$/.test(capital) ? capital : `${capital}.`;
}
