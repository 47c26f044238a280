import type { ConsumerRegistration } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Database } from '../../database/database.js';

export type ConsumerRepository = ReturnType<typeof createConsumerRepository>;

export function createConsumerRepository(database: Database) {
  return {
    /** Registers, or keeps registered; a change of state wakes the dispatcher through its timer. */
    async register(id: string, registration: ConsumerRegistration): Promise<{ isNews: boolean }> {
      const { holder, version, state, slots, gpu_uuid, memory_mib, labels } = registration;
      const [row] = await database.query<{ news: boolean }>(
        `WITH before AS (SELECT state, holder, slots FROM consumers WHERE id = $1)
         INSERT INTO consumers (id, holder, version, state, slots, gpu_uuid, memory_mib, labels, heartbeat_at)
         VALUES ($1, $2, $3, $4::consumer_state, $5, $6, $7, $8, now())
         ON CONFLICT (id) DO UPDATE
           SET holder = excluded.holder, version = excluded.version, state = excluded.state,
               slots = excluded.slots, gpu_uuid = excluded.gpu_uuid,
               memory_mib = excluded.memory_mib, labels = excluded.labels, heartbeat_at = now()
         RETURNING NOT EXISTS (
           SELECT 1 FROM before
            WHERE before.state = consumers.state AND before.holder = consumers.holder
              AND before.slots = consumers.slots) AS news`,
        [id, holder, version, state, slots, gpu_uuid, memory_mib, JSON.stringify(labels)],
      );
      return { isNews: row?.news ?? false };
    },

    /**
     * Marks a consumer gone that stops by itself, and returns its tickets to the backlog. A task that
     * somebody else is at is left to the dispatcher, which finds its consumer gone: to wait for it
     * while others are held is how two of these, and the dispatcher, come to wait for each other.
     */
    async signOff(id: string, holder: string): Promise<number> {
      return database.transaction(async (tx) => {
        await tx.query(`UPDATE consumers SET state = 'gone' WHERE id = $1 AND holder = $2`, [
          id,
          holder,
        ]);
        const returned = await tx.query(
          `UPDATE tasks SET state = 'PENDING'
            WHERE uid IN (
                    SELECT uid FROM tasks
                     WHERE state = 'QUEUED' AND consumer_id = $1
                       AND EXISTS (SELECT 1 FROM consumers WHERE id = $1 AND holder = $2)
                       FOR UPDATE SKIP LOCKED)
           RETURNING uid`,
          [id, holder],
        );
        return returned.length;
      });
    },

    /** How many consumers were heard of lately and can start containers. */
    async countReady(heartbeatTimeoutMs: number): Promise<number> {
      const [row] = await database.query<{ count: string }>(
        `SELECT count(*) FROM consumers
          WHERE state = 'ready' AND heartbeat_at > now() - $1 * interval '1 millisecond'`,
        [heartbeatTimeoutMs],
      );
      return Number(row?.count ?? 0);
    },

    /** The id of this installation; undefined: nobody has asked for it yet. */
    async knownInstallationId(): Promise<string | undefined> {
      const [row] = await database.query<{ id: string }>(`SELECT id FROM installations`);
      return row?.id;
    },

    /** The id of this installation: made by whoever asks first. */
    async installationId(newId: () => string): Promise<string> {
      await database.query(
        `INSERT INTO installations (id) VALUES ($1) ON CONFLICT (singleton) DO NOTHING`,
        [newId()],
      );
      const id = await this.knownInstallationId();
      if (id === undefined) throw new AppError('INTERNAL', 'the installation has no row');
      return id;
    },
  };
}
