import { expect, test } from 'vitest';
import { publicRoutes, type Model } from '@inference-server/contracts';
import { publicOpenApiDocument } from '../src/plugins/docs.js';
import { startPair, startPublicApi } from './servers.js';

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

test('who may list the models is shown what each runtime model takes and gives', async () => {
  const { url } = await startPair((_request, response) => {
    response.setHeader('content-type', 'application/json').end(
      JSON.stringify([
        { ...model, human_readable_id: 'copy', kind: 'batch', contract: null },
        {
          ...model,
          contract: {
            signature_name: 'predict',
            inputs: [{ name: 'measurements', dtype: 'DT_FLOAT', shape: [-1, 4] }],
            outputs: [{ name: 'species', dtype: 'DT_STRING', shape: [-1] }],
          },
        },
      ]),
    );
  });
  for (const path of ['/openapi.json', '/docs/json']) {
    const { paths } = (await (await fetch(`${url}${path}`)).json()) as {
      paths: Record<string, { post: Record<string, unknown> }>;
    };
    expect(paths['/api/models/iris/predict']?.post).toMatchObject({
      summary: 'Ask iris, version 3',
      description: 'Tells the species.',
      requestBody: {
        content: { 'application/json': { schema: { required: ['measurements'] } } },
      },
      responses: {
        200: { content: { 'application/json': { schema: { required: ['species'] } } } },
      },
    });
    expect(paths).not.toHaveProperty('/api/models/copy/predict');
  }
  const stranger = await fetch(`${url}/openapi.json`, { headers: { 'x-token': 'none' } });
  expect(await stranger.json()).toEqual(publicOpenApiDocument());
});

const model: Model = {
  ...{ human_readable_id: 'iris', version: 3, description: 'Tells the species.' },
  ...{ kind: 'runtime', contract: null, container_tag: 'iris:1', model_available: false },
  ...{ min_replicas: 0, max_replicas: 1, idle_timeout_s: 300, target_in_flight: 8 },
  ...{ max_batch_size: 1, max_delay_ms: 5, use_gpu: false, gpu_count: 1, gpu_memory_mib: null },
  ...{ gpu_memory_exceeded: false, cpus: null, memory_mib: null, shm_mib: null, labels: {} },
  ...{ network: null, user: null, read_only_root: false, cap_add: [], gpu_memory_peak_mib: null },
  ...{ pull_policy: 'missing', timeout_s: null, retries: 0, retention_s: null },
  ...{ input_retention_s: null, log_retention_s: null, created_at: '2026-11-23T00:00:00.000Z' },
};
