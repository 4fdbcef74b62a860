// @ts-check
/** Questions as a drawing grows: never two at once, and only the newest one's answer is heard. */

const REST = 300; // ms; the next stroke of a digit has mostly begun by then
const WAIT = 250; // ms; a quick answer comes without "Reading" flashing by
const SLOW = 3000; // ms

/**
 * @param {{ask: (about: any, signal: AbortSignal) => Promise<any>,
 *   onWait: (wait: "reading" | "slow") => void,
 *   onOutcome: (outcome: any, about: any) => void}} options `slow` comes after `reading`
 */
export function useQuestions({ ask, onWait, onOutcome }) {
  let own = null; // the AbortController of the question in flight
  let timers = [];

  /** Ask nothing, and hear nothing of what was asked. */
  function drop() {
    own?.abort();
    own = null;
    timers.forEach(clearTimeout);
    timers = [];
  }

  async function now(about) {
    drop();
    const mine = (own = new AbortController());
    timers = [setTimeout(onWait, WAIT, "reading"), setTimeout(onWait, SLOW, "slow")];
    const outcome = await ask(about, mine.signal);
    if (own !== mine) return;
    drop();
    onOutcome(outcome, about);
  }

  /** Ask in a while, when the pen has come to rest, unless something is asked or dropped before. */
  function soon(about, delay = REST) {
    drop();
    timers = [setTimeout(now, delay, about)];
  }

  return { now, soon, drop, isAsking: () => own !== null };
}
