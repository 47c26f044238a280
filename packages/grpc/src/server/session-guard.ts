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
/** What a ping is answered with, and the least that a frame of an answer has: its head, and a word. */
const pongBytes = 17;
const answerBytes = 24;
/** nghttp2 cuts a connection, with all its calls, at 1,000 resets and 33 a second. */
const ofResets: Allowance = { burst: 300, perSecond: 20 };

/**
 * Watches a connection: it must greet in time, must not be idle for too long, and is sent away when it sends
 * settings and pings faster than any client would. A client measures the way by a ping for what it is sent
 * (grpc-go and grpc-java do), so what goes out to it makes room for as many. One with many calls that are
 * broken off, or refused, may begin no more of them, and those that are under way end as they would: a proxy
 * passes on the calls of many, and opens another.
 */
export function guardSession(
  session: ServerHttp2Session,
  isBusy: () => boolean,
): { noteBroken(): void } {
  const noteBroken = countTo(ofResets, () => session.close());
  const calmDown = () =>
    // The code is said only where there is an error, too.
    session.destroy(new Error('too many frames'), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  const noteSettings = countTo(ofFrames, calmDown);
  const notePing = countTo(ofFrames, calmDown);
  const newAnswers = countAnswers(session);

  const ungreeted = setTimeout(() => session.destroy(), greetingMs);
  session.once('remoteSettings', () => clearTimeout(ungreeted));
  session.on('remoteSettings', () => noteSettings());
  session.on('ping', () => notePing(newAnswers()));
  session.on('error', () => undefined);

  let idleSince = performance.now();
  let silent: NodeJS.Timeout | undefined;
  const looking = setInterval(() => {
    if (session.destroyed) return;
    if (isBusy()) {
      idleSince = performance.now();
      clearTimeout(silent);
      silent = setTimeout(() => session.destroy(), pingAnsweredMs);
      if (!session.ping(() => clearTimeout(silent))) clearTimeout(silent);
    } else if (performance.now() - idleSince > idleMs) {
      session.close();
    }
  }, pingEveryMs);
  looking.unref();
  session.once('close', () => {
    clearTimeout(ungreeted);
    clearInterval(looking);
    clearTimeout(silent);
  });
  return { noteBroken };
}

/** Gives how many frames of answers may have gone out since it was last asked: by bytes, less those of pongs. */
function countAnswers(session: ServerHttp2Session): () => number {
  let pings = 0;
  let counted = 0;
  return () => {
    pings += 1;
    const socket = session.destroyed ? undefined : session.socket;
    const frames = Math.floor(((socket?.bytesWritten ?? 0) - pings * pongBytes) / answerBytes);
    const more = Math.max(frames - counted, 0);
    counted += more;
    return more;
  };
}

/**
 * Calls `sendAway` when there is more than the allowance: once, and not from within what the session is told
 * just now. Ending it there closes streams, which are counted in turn, and the process goes round in this
 * for good.
 */
function countTo(allowance: Allowance, sendAway: () => void): (room?: number) => void {
  let left = allowance.burst;
  let countedAt = performance.now();
  let isSentAway = false;
  return (room = 0) => {
    const now = performance.now();
    const more = room + ((now - countedAt) / 1000) * allowance.perSecond;
    left = Math.min(allowance.burst, left + more);
    countedAt = now;
    left -= 1;
    if (left >= 0 || isSentAway) return;
    isSentAway = true;
    setImmediate(sendAway);
  };
}
