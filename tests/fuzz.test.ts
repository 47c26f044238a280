import { describe, expect, it } from 'vitest';
import { allRoutes, openApiDocument } from '@inference-server/contracts';
import { fuzzMessages } from './fuzz/message-target.js';
import { fuzzMultipart } from './fuzz/multipart-target.js';
import { placesOf } from './fuzz/route-changes.js';
import { fuzzRoutes } from './fuzz/route-target.js';
import { propertiesOf, type Schema } from './fuzz/schema-values.js';

/** What the targets find with a few cases is found with every run of the tests. */
describe('fuzzing, in small', () => {
  it('takes or refuses forms as a second reader does', async () => {
    const { accepted } = await fuzzMultipart({ cases: 1_500, seed: 1 });
    // Neither are all refused nor all taken: both ways were gone.
    expect(accepted).toBeGreaterThan(200);
    expect(accepted).toBeLessThan(1_200);
  }, 60_000);

  it('reads or refuses messages of every door', async () => {
    const { accepted } = await fuzzMessages({ cases: 5_000, seed: 1 });
    expect(accepted).toBeGreaterThan(1_000);
    expect(accepted).toBeLessThan(4_500);
  }, 60_000);

  it('touches every parameter of every route of both APIs', async () => {
    const { accepted, missed } = await fuzzRoutes({ cases: 12_000, seed: 1 });
    expect(missed).toEqual([]);
    expect(accepted).toBeGreaterThan(1_000);
    expect(accepted).toBeLessThan(10_000);
  }, 300_000);
});

interface Operation {
  operationId: string;
  parameters: { name: string; in: string }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
}

it('the places of a route are those that its OpenAPI document names', () => {
  const document = openApiDocument(allRoutes, { title: 't', description: 'd', version: '1' });
  const operations = Object.values(document['paths'] as Record<string, Record<string, Operation>>);
  for (const operation of operations.flatMap((path) => Object.values(path))) {
    const { operationId, parameters, requestBody } = operation;
    const body = requestBody?.content['application/json']?.schema;
    const named = [
      ...parameters.map(({ name, in: place }) => `${place} ${name.toLowerCase()}`),
      ...(body === undefined ? [] : propertiesOf(body)).map(([path]) => `body ${path}`),
      ...(requestBody === undefined ? [] : ['body', 'header content-type']),
    ];
    const contract = allRoutes.find((route) => route.operationId === operationId);
    expect(contract && placesOf(contract)).toEqual(expect.arrayContaining(named));
  }
});
