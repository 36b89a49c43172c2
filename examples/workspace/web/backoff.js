// Waits longer after each attempt: 100 ms, 200 ms, 400 ms, at most 5 s.

const FIRST_MS = 100;
const LIMIT_MS = 5000;

export function pauseFor(attempt) {
  return Math.min(LIMIT_MS, FIRST_MS * 2 ** attempt);
}

/** Resolves when the pause is over. */
export const backoff = (attempt) =>
  new Promise((resolve) => setTimeout(resolve, pauseFor(attempt)));
