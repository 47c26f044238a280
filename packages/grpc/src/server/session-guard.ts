import { constants, type ServerHttp2Session } from 'node:http2';

/** How long a connection may take to say its first words, and be without a call afterwards. */
const greetingMs = 10_000;
const idleMs = 10 * 60_000;
/** While there are calls, a peer that has gone without a word is looked for. */
const pingEveryMs = 30_000;
const pingAnsweredMs = 20_000;

/** What nobody who means well does: so many at once, and so many in a second from then on. */
const allowance = { burst: 1_000, perSecond: 100 };

/**
 * Watches a connection: it must greet in time, must not be idle for too long, and is sent away when it
 * resets calls, or sends settings and pings, faster than any client would.
 */
export function guardSession(
  session: ServerHttp2Session,
  isBusy: () => boolean,
): { noteReset(): void } {
  let left = allowance.burst;
  let countedAt = performance.now();

  function count(): void {
    const now = performance.now();
    left = Math.min(allowance.burst, left + ((now - countedAt) / 1000) * allowance.perSecond);
    countedAt = now;
    left -= 1;
    if (left < 0) sendAway();
  }

  function sendAway(): void {
    if (session.destroyed) return;
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  const ungreeted = setTimeout(() => session.destroy(), greetingMs);
  session.once('remoteSettings', () => clearTimeout(ungreeted));
  session.on('remoteSettings', count);
  session.on('ping', count);
  session.on('error', () => undefined);

  let idleSince = performance.now();
  const looking = setInterval(() => {
    if (session.destroyed) return;
    if (isBusy()) {
      idleSince = performance.now();
      const silent = setTimeout(() => session.destroy(), pingAnsweredMs);
      session.once('close', () => clearTimeout(silent));
      if (!session.ping(() => clearTimeout(silent))) clearTimeout(silent);
    } else if (performance.now() - idleSince > idleMs) {
      session.close();
    }
  }, pingEveryMs);
  looking.unref();
  session.once('close', () => {
    clearTimeout(ungreeted);
    clearInterval(looking);
  });
  return { noteReset: count };
}
