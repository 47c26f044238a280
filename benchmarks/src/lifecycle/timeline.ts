import pg from 'pg';
import { askEngine } from '../ask-engine.js';
import type { Scene } from '../scene.js';

export interface Timelines {
  /**
   * How long each part of a task took (ms): the times that its rows and the engine's events tell,
   * between the client's own. To be asked before the task is deleted.
   */
  of(uid: string, client: { beganAt: number; endedAt: number }): Promise<Record<string, number>>;
}

export async function openTimelines(
  scene: Scene,
  databaseUrl: string,
  dockerHost: string,
): Promise<Timelines> {
  const database = new pg.Client({ connectionString: databaseUrl });
  await database.connect();
  scene.onEnd(() => database.end());
  return {
    async of(uid, { beganAt, endedAt }) {
      const rows = await database.query<RowTimes>(rowTimes, [uid]);
      const [row] = rows.rows;
      if (row === undefined) throw new Error(`There is no row of task ${uid}`);
      const events = await eventsOf(uid, dockerHost, { beganAt, endedAt }, scene.signal);
      const at = (kind: string, action: string) =>
        events.find((event) => event.kind === kind && event.action === action)?.at ?? Number.NaN;
      const staged = Math.max(at('stage', 'extract-to-dir'), at('run', 'create'));
      return {
        'posting until its row': row.created - beganAt,
        'until its ticket': row.sent - row.created,
        'until its claim': row.claimed - row.sent,
        staging: staged - row.claimed,
        starting: at('run', 'start') - staged,
        running: at('run', 'die') - at('run', 'start'),
        'until the output arrives': row.output - at('run', 'die'),
        'storing the output': row.ended - row.output,
        'until the client has it': endedAt - row.ended,
      };
    },
  };
}

type RowTimes = Record<'created' | 'sent' | 'claimed' | 'output' | 'ended', number>;

const rowTimes = `
  SELECT extract(epoch FROM t.created_at)::float8 * 1000 AS created,
         extract(epoch FROM t.ticket_sent_at)::float8 * 1000 AS sent,
         extract(epoch FROM a.claimed_at)::float8 * 1000 AS claimed,
         extract(epoch FROM b.created_at)::float8 * 1000 AS output,
         extract(epoch FROM a.ended_at)::float8 * 1000 AS ended
    FROM tasks t
    JOIN attempts a ON a.task_uid = t.uid AND a.number = t.attempt
    JOIN blobs b ON b.id = t.output_blob_id
   WHERE t.uid = $1`;

interface EngineEvent {
  kind: string | undefined;
  action: string;
  /** Wall clock (ms). */
  at: number;
}

/** The engine keeps its last 256 events: those of one task are there for a while. */
async function eventsOf(
  uid: string,
  dockerHost: string,
  { beganAt, endedAt }: { beganAt: number; endedAt: number },
  signal: AbortSignal,
): Promise<EngineEvent[]> {
  const query = new URLSearchParams({
    since: (beganAt / 1000).toFixed(3),
    until: (endedAt / 1000).toFixed(3),
    filters: JSON.stringify({ type: ['container'], label: [`inference-server.task=${uid}`] }),
  });
  const lines = await askEngine(dockerHost, `/events?${query.toString()}`, signal);
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const event = JSON.parse(line) as RawEvent;
      const kind = event.Actor.Attributes['inference-server.kind'];
      return { kind, action: event.Action, at: event.timeNano / 1e6 };
    });
}

interface RawEvent {
  Action: string;
  timeNano: number;
  Actor: { Attributes: Record<string, string> };
}
