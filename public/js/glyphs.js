// @ts-check
/** The ten digits and a question mark as a pen would write them: SVG centre lines. */

export const VIEW = { width: 100, height: 140 }; // units of the paths below, y down

/** @type {readonly string[]} The path of digit d stands at index d. */
export const DIGITS = [
  "M58 10C28 6 12 42 12 74c0 32 14 56 37 56 25 0 39-30 39-62C88 36 74 10 50 11",
  "M26 40C40 32 51 22 58 10c-2 38-4 78-4 120",
  "M17 40C17 22 31 10 49 10c19 0 32 12 32 32 0 26-29 54-66 85 22-5 44 5 72-1",
  "M19 23C27 14 38 10 49 10c18 0 30 11 30 27 0 17-15 27-36 29 24 0 41 11 41 31 0 20-16 33-37 33" +
    "-14 0-26-6-34-16",
  "M56 10C46 40 30 68 11 90c26 3 52 2 78-2M66 54c-2 26-3 50-3 76",
  "M34 13c0 16-3 32-8 48 8-7 18-10 28-10 20 0 33 15 33 37 0 25-17 42-41 42-13 0-24-5-32-14M34 13" +
    "c16 2 32 1 47-3",
  "M68 10C42 26 18 58 16 94c-1 22 14 36 34 36 20 0 35-14 35-33 0-18-14-30-31-30-19 0-34 12-37 32",
  "M14 14c24 3 48 2 72-3C66 46 50 88 43 130",
  "M77 28C72 16 62 10 50 10c-16 0-28 10-28 25 0 30 62 34 62 68 0 17-15 27-34 27-20 0-34-11-34-28" +
    " 0-32 60-40 61-74",
  "M81 38C79 20 66 10 49 10c-19 0-33 14-33 33 0 18 12 30 30 30 19 0 33-14 35-35 1 38-5 68-25 92",
];

/** An SVG path, in no document yet. */
export function pathAlong(d) {
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", d);
  return path;
}

export const QUESTION = "M20 40C20 22 33 10 50 10c19 0 32 12 32 30 0 26-31 28-31 56M50 126v2";
