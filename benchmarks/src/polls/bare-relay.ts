// The least that can stand before the bare app: Fastify and reply-from as they come.
import replyFrom from '@fastify/reply-from';
import fastify from 'fastify';

const { UPSTREAM_URL: base = '', PORT: port } = process.env;
const app = fastify();

await app.register(replyFrom, { base, disableRequestLogging: true });
app.get('/healthz', async () => ({ status: 'up' }));
app.get('/api/tasks/:uid', (request, reply) => reply.from(request.url));

await app.listen({ host: '127.0.0.1', port: Number(port) });
for (const name of ['SIGTERM', 'disconnect'] as const) process.on(name, () => process.exit(0));
