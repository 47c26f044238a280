import type { ReportedReplica } from '@inference-server/contracts';

/**
 * As many of these as one report may tell of: all that have not ended, and of the others as many as leave it within
 * its bytes, in JSON; what is left of those their logs share, by their ends. Whoever is left out comes later.
 */
export function boundedReport(
  replicas: readonly ReportedReplica[],
  { hasLogs = true, maxBytes = maxReportBytes }: { hasLogs?: boolean; maxBytes?: number } = {},
): ReportedReplica[] {
  const isEnded = ({ end }: ReportedReplica) => end !== undefined;
  const inOrder = [
    ...replicas.filter((replica) => !isEnded(replica)),
    ...replicas.filter(isEnded),
  ].slice(0, maxReplicas);
  let left = maxBytes;
  const taken: ReportedReplica[] = [];
  for (const replica of inOrder) {
    const bytes = bytesOf(withLog(replica, '')) + 1;
    if (isEnded(replica) && bytes > left) break;
    left -= bytes;
    taken.push(replica);
  }
  let sharing = taken.filter(isEnded).length;
  return taken.map((replica) => {
    if (replica.end === undefined) return replica;
    const log = hasLogs ? tailOf(replica.end.log, Math.floor(left / sharing)) : '';
    sharing -= 1;
    left -= bytesOf(log) - quotes;
    return withLog(replica, log);
  });
}

/** As the contract has them. */
const maxReplicas = 1_000;
/** private-api takes twice as much. */
const maxReportBytes = 1024 ** 2;
const quotes = 2;

function withLog(replica: ReportedReplica, log: string): ReportedReplica {
  return replica.end === undefined ? replica : { ...replica, end: { ...replica.end, log } };
}

function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/** A log of control characters is six times as long in JSON. */
function tailOf(text: string, maxBytes: number): string {
  if (bytesOf(text) - quotes <= maxBytes) return text;
  const characters = Array.from(text);
  let left = maxBytes;
  let at = characters.length;
  while (at > 0) {
    left -= bytesOf(characters[at - 1]) - quotes;
    if (left < 0) break;
    at -= 1;
  }
  return characters.slice(at).join('');
}
