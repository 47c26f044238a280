import { describe, expect, it } from 'vitest';
import { allRoutes, errorCodes, openApiDocument, publicRoutes } from '../src/index.js';

interface Operation {
  operationId: string;
  parameters: { name: string; in: string; description?: string }[];
  requestBody?: { content: Record<string, unknown> };
  responses: Record<
    string,
    { description: string; headers?: object; content?: Record<string, unknown> }
  >;
}
type Paths = Record<string, Record<string, Operation>>;

const document = openApiDocument(publicRoutes, { title: 't', description: 'd', version: '1' });
const paths = document['paths'] as Paths;

describe('the OpenAPI document', () => {
  it('describes every public route and nothing else', () => {
    const described = Object.values(paths).flatMap((path) =>
      Object.values(path).map((operation) => operation.operationId),
    );
    expect(described.sort()).toEqual(publicRoutes.map((route) => route.operationId).sort());
    expect(Object.keys(paths).some((path) => path.startsWith('/internal'))).toBe(false);
  });

  it('describes 550 to 554 where they are answered', () => {
    expect(paths['/api/tasks/']?.['post']?.responses).toHaveProperty('550');
    const statuses = Object.keys(paths['/api/tasks/{uid}']?.['get']?.responses ?? {});
    expect(statuses).toEqual(expect.arrayContaining(['200', '551', '552', '553', '554']));
  });

  it('describes parts, conditions and validators of a download, and of nothing else', () => {
    const download = paths['/api/tasks/{uid}']?.['get'];
    const headers = download?.parameters.filter((parameter) => parameter.in === 'header') ?? [];
    expect(headers.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['Range', 'If-Range', 'If-None-Match', 'If-Match']),
    );
    for (const status of ['200', '206', '304']) {
      expect(download?.responses[status]?.headers).toHaveProperty('ETag');
    }
    expect(Object.keys(download?.responses ?? {})).toEqual(expect.arrayContaining(['412', '416']));
    const list = paths['/api/models/']?.['get'];
    expect(list?.parameters).toEqual([]);
    expect(Object.keys(list?.responses ?? {})).not.toContain('206');
  });

  it('describes the headers that a route has of its own', () => {
    const post = paths['/api/tasks/']?.['post'];
    expect(post?.parameters).toContainEqual(
      expect.objectContaining({ name: 'idempotency-key', in: 'header', required: false }),
    );
    expect(post?.responses).toHaveProperty('429.headers.Retry-After');
  });

  it('describes both ways to upload', () => {
    const content = paths['/api/tasks/']?.['post']?.requestBody?.content ?? {};
    expect(Object.keys(content)).toEqual(['multipart/form-data', 'application/zip']);
  });

  it('resolves every reference', () => {
    const text = JSON.stringify(
      openApiDocument(allRoutes, { title: 't', description: 'd', version: '1' }),
    );
    const named = [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map((match) => match[1]);
    const { schemas } = (JSON.parse(text) as { components: { schemas: object } }).components;
    expect(named.length).toBeGreaterThan(5);
    for (const name of named) expect(schemas).toHaveProperty(name ?? '');
    expect(text).not.toContain('"$id"');
  });

  it('gives every error code a status that HTTP clients pass on', () => {
    for (const { status } of Object.values(errorCodes)) {
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(600);
    }
  });
});
