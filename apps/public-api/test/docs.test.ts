import { expect, test } from 'vitest';
import { publicRoutes } from '@inference-server/contracts';
import { publicOpenApiDocument } from '../src/plugins/docs.js';
import { startPublicApi } from './servers.js';

test('the page and the document are served', async () => {
  const { url } = await startPublicApi({ privateApiUrl: 'http://127.0.0.1:9' });
  const page = await fetch(`${url}/docs`);
  expect(page.status).toBe(200);
  expect(await page.text()).toContain('swagger-ui');
  const document = await fetch(`${url}/openapi.json`);
  expect(document.headers.get('content-type')).toContain('application/json');
  expect(await document.json()).toEqual(publicOpenApiDocument());
});

test('every public route is described, and no other', () => {
  const { paths } = publicOpenApiDocument() as {
    paths: Record<string, Record<string, { operationId: string; responses: object }>>;
  };
  const operations = Object.values(paths).flatMap((path) => Object.values(path));
  expect(operations.map(({ operationId }) => operationId).sort()).toEqual(
    publicRoutes.map(({ operationId }) => operationId).sort(),
  );
  expect(JSON.stringify(paths)).not.toContain('/internal/');
  const statuses = Object.keys(paths['/api/tasks/{uid}']?.['get']?.responses ?? {});
  expect(statuses).toEqual(expect.arrayContaining(['200', '551', '552', '553', '554']));
});
