import { expect, it } from 'vitest';
import { tellsOfLostTask } from '../src/docker/errors.js';

const id = 'e75e223b9991d426f583dd3cd091d6874771af6dbeb6d8b529a8072d38c653c6';

it('is known by the words of an engine that was killed in the middle of a start', () => {
  expect(tellsOfLostTask(`task ${id}: already exists`)).toBe(true);
});

it.each([
  'OCI runtime create failed: mkdir /input/data: file exists: unknown',
  `failed to create task for container: "already exists": executable file not found`,
  'task already exists',
  '',
])('is not taken from what an image can make an engine say: %s', (startError) => {
  expect(tellsOfLostTask(startError)).toBe(false);
});
