import { describe, expect, it } from 'vitest';
import Schema from 'typebox/schema';
import { canonicalUrl, ConsumerId, HumanReadableId, spellBooleans, TaskUid } from '../src/index.js';
import { postModel } from '../src/routes/models.js';
import { ContainerTag } from '../src/schemas/names.js';

const accepts = (schema: object, value: unknown) => Schema.Check(schema as never, value);

describe('names', () => {
  it.each(['copy', 'a', '-x', '_x', 'A.b:c d', '0'.repeat(200)])('takes the model id %j', (id) => {
    expect(accepts(HumanReadableId, id)).toBe(true);
  });

  it.each(['', ' a', 'a ', '.a', ':a', 'a/b', 'ä', 'a\n', 'a\u0000', '0'.repeat(201)])(
    'refuses the model id %j',
    (id) => {
      expect(accepts(HumanReadableId, id)).toBe(false);
    },
  );

  it.each([
    'busybox',
    'busybox:1.36',
    'inference-server/copy:1',
    'registry.example.org:5000/team/model:v2',
    'localhost:5000/x',
    'localhost/x',
    'Registry:5000/x',
    'Registry.Example/x',
    'my-team/x',
    `x@sha256:${'a'.repeat(64)}`,
    `x:1@sha256:${'0'.repeat(64)}`,
  ])('takes the image reference %j', (tag) => {
    expect(accepts(ContainerTag, tag)).toBe(true);
  });

  it.each([
    '',
    'Busybox',
    'a b',
    'x:',
    ':1',
    'x@sha256:abc',
    '-x',
    'x//y',
    'x/',
    '../x',
    'x:1;rm -rf',
    // Of docker.io for some engines, of a host with this name for others.
    'Registry/x',
    'teaM/x:1',
    `x:${'a'.repeat(129)}`,
  ])('refuses the image reference %j', (tag) => {
    expect(accepts(ContainerTag, tag)).toBe(false);
  });

  it('takes 43 characters of base64url as a task uid and nothing else', () => {
    expect(accepts(TaskUid, 'a'.repeat(43))).toBe(true);
    expect(accepts(TaskUid, 'a'.repeat(42))).toBe(false);
    expect(accepts(TaskUid, `${'a'.repeat(42)}/`)).toBe(false);
  });

  it('keeps consumer ids free of what separates queue names', () => {
    expect(accepts(ConsumerId, 'host-1.lab_gpu0')).toBe(true);
    expect(accepts(ConsumerId, 'a:b')).toBe(false);
    expect(accepts(ConsumerId, '..')).toBe(false);
  });
});

describe('spellBooleans', () => {
  it('reads True and False as Python writes them, for boolean parameters only', () => {
    const query = { use_gpu: 'True', model_available: 'False', description: 'True' };
    expect(spellBooleans(postModel.query, query)).toEqual({
      use_gpu: 'true',
      model_available: 'false',
      description: 'True',
    });
  });

  it('leaves anything else for the validation to refuse', () => {
    expect(spellBooleans(postModel.query, { use_gpu: 'yes' })).toEqual({ use_gpu: 'yes' });
  });
});

describe('canonicalUrl', () => {
  it.each(['/api/tasks/?container_tag=x', '/api/tasks?a=b&container%5Ftag=x'])(
    'reads a post to %s as a model registration',
    (url) => {
      expect(canonicalUrl('POST', url)).toBe(`/api/models/?${url.split('?')[1] ?? ''}`);
    },
  );

  it('leaves out the server that a proxy names', () => {
    expect(canonicalUrl('GET', 'http://127.0.0.1:8000/api/models/?a=b')).toBe('/api/models/?a=b');
    expect(canonicalUrl('POST', 'HTTP://x/api/tasks/?container_tag=x')).toBe(
      '/api/models/?container_tag=x',
    );
  });

  it.each([
    ['GET', '/api/tasks/?container_tag=x'],
    ['POST', '/api/tasks/?human_readable_id=container_tag'],
    ['POST', '/api/tasks/x?container_tag=x'],
  ])('leaves %s %s', (method, url) => {
    expect(canonicalUrl(method, url)).toBe(url);
  });
});
