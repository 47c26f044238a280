// The least that can answer a poll: Fastify as it comes, one indexed SELECT, one JSON body.
import fastify from 'fastify';
import pg from 'pg';

const { DATABASE_URL: connectionString, PORT: port } = process.env;
const pool = new pg.Pool({ connectionString, max: 20 });
const app = fastify();

app.get('/healthz', async () => ({ status: 'up' }));

app.get<{ Params: { uid: string } }>('/api/tasks/:uid', async ({ params }, reply) => {
  const { rows } = await pool.query<{ state: string; attempt: number }>(
    'SELECT state, attempt FROM tasks WHERE uid = $1',
    [params.uid],
  );
  const [task] = rows;
  if (task === undefined) return reply.code(554).send({ code: 'TASK_NOT_FOUND' });
  return reply.code(551).send({ code: 'TASK_PENDING', detail: 'The task is waiting.', task });
});

await app.listen({ host: '127.0.0.1', port: Number(port) });
for (const name of ['SIGTERM', 'disconnect'] as const) process.on(name, () => process.exit(0));
