import { constants, type ServerHttp2Session } from 'node:http2';

/** How long a connection may take to say its first words, and be without a call afterwards. */
const greetingMs = 10_000;
const idleMs = 10 * 60_000;
/** While there are calls, a peer that has gone without a word is looked for. */
const pingEveryMs = 30_000;
const pingAnsweredMs = 20_000;

/** What nobody who means well does: so many at once, and so many in a second from then on. */
interface Allowance {
  burst: number;
  perSecond: number;
}

const ofFrames: Allowance = { burst: 1_000, perSecond: 100 };
/** nghttp2 cuts a connection, with all its calls, at 1,000 resets and 33 a second. */
const ofResets: Allowance = { burst: 300, perSecond: 20 };

/**
 * Watches a connection: it must greet in time, must not be idle for too long, and is sent away when it sends
 * settings and pings faster than any client would. One with many calls that are broken off, or refused, may
 * begin no more of them, and those that are under way end as they would: a proxy passes on the calls of many,
 * and opens another.
 */
export function guardSession(
  session: ServerHttp2Session,
  isBusy: () => boolean,
): { noteBroken(): void } {
  const noteBroken = countTo(ofResets, () => session.close());
  const noteFrame = countTo(ofFrames, () =>
    session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM),
  );

  const ungreeted = setTimeout(() => session.destroy(), greetingMs);
  session.once('remoteSettings', () => clearTimeout(ungreeted));
  session.on('remoteSettings', noteFrame);
  session.on('ping', noteFrame);
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
  return { noteBroken };
}

/**
 * Calls `sendAway` when there is more than the allowance: once, and not from within what the session is told
 * just now. Ending it there closes streams, which are counted in turn, and the process goes round in this
 * for good.
 */
function countTo(allowance: Allowance, sendAway: () => void): () => void {
  let left = allowance.burst;
  let countedAt = performance.now();
  let isSentAway = false;
  return () => {
    const now = performance.now();
    left = Math.min(allowance.burst, left + ((now - countedAt) / 1000) * allowance.perSecond);
    countedAt = now;
    left -= 1;
    if (left >= 0 || isSentAway) return;
    isSentAway = true;
    setImmediate(sendAway);
  };
}
