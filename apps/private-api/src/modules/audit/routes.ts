import { Readable } from 'node:stream';
import { routes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { cutWhenStalled, mountRoute } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { callerOf } from '../../http/authorization.js';
import type { AuditRepository, AuditSelection } from './repository.js';

export function mountAuditRoutes(app: FastifyInstance, audit: AuditRepository): void {
  mountRoute(app, routes.exportAudit, async ({ query, http }, reply) => {
    const { by = null, action = null, object = null } = query;
    const since = secondsOf(query, 'since');
    const until = secondsOf(query, 'until');
    reply.type('application/x-ndjson; charset=utf-8');
    if (http.method === 'HEAD') return reply.send();
    const details = { since: query.since ?? null, until: query.until ?? null, by, action, object };
    await audit.write({
      ...{ by: callerOf(http), action: 'export_audit', object: { kind: 'none', id: null } },
      details,
    });
    const lines = linesOf(audit, { since, until, by, action, object });
    cutWhenStalled(reply);
    return reply.send(Readable.from(lines, { objectMode: false }));
  });

  mountRoute(app, routes.noteRefusals, async ({ body }) => {
    await audit.writeRefusals(body.refusals);
    return { noted: body.refusals.length };
  });
}

/** Since 1970; null: it is not given. */
function secondsOf<Name extends string>(
  query: Partial<Record<Name, string>>,
  name: Name,
): number | null {
  const given = query[name];
  if (given === undefined) return null;
  const ms = Date.parse(given);
  if (!Number.isNaN(ms)) return ms / 1000;
  // In form, and no time that there is: the 61st second of a minute.
  throw new AppError('VALIDATION_FAILED', `${name} is no time.`, {
    extensions: { parameter: name },
  });
}

async function* linesOf(audit: AuditRepository, selection: AuditSelection): AsyncGenerator<string> {
  for await (const events of audit.read(selection)) {
    yield events.map((event) => `${JSON.stringify(event)}\n`).join('');
  }
}
