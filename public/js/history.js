// @ts-check
/** Undo and redo: what was, is and would be again. Nothing is changed in place. */

const MOST = 200; // steps back

export function startHistory(now) {
  return { past: [], now, next: [] };
}

export function change({ past, now }, changed) {
  return { past: [...past, now].slice(-MOST), now: changed, next: [] };
}

export function undo({ past, now, next }) {
  if (past.length === 0) return { past, now, next };
  return { past: past.slice(0, -1), now: past.at(-1), next: [now, ...next] };
}

export function redo({ past, now, next }) {
  if (next.length === 0) return { past, now, next };
  return { past: [...past, now], now: next[0], next: next.slice(1) };
}
