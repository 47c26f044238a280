import { Readable } from 'node:stream';
import { routes } from '@inference-server/contracts';
import { mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import type { AuditRepository, AuditSelection } from './repository.js';

export function mountAuditRoutes(app: FastifyInstance, audit: AuditRepository): void {
  mountRoute(app, routes.exportAudit, async ({ query }, reply) => {
    const { after = null, from = null, to = null, limit = 100_000 } = query;
    const lines = Readable.from(linesOf(audit, { after, from, to, limit }), { objectMode: false });
    return reply.type('application/x-ndjson; charset=utf-8').send(lines);
  });

  mountRoute(app, routes.noteRefusals, async ({ body }) => {
    await audit.writeRefusals(body.refusals);
    return { noted: body.refusals.length };
  });
}

async function* linesOf(
  audit: AuditRepository,
  selection: AuditSelection,
): AsyncGenerator<string> {
  for await (const events of audit.read(selection)) {
    yield events.map((event) => `${JSON.stringify(event)}\n`).join('');
  }
}
