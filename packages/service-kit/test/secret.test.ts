import { randomBytes, randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Type from 'typebox';
import { beforeAll, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import {
  consumerToken,
  loadConfig,
  newOperatorToken,
  publicApiToken,
  Secret,
  SecretUrl,
  weaknessOf,
  withoutSecrets,
} from '../src/index.js';

const Settings = Type.Object({
  TOKEN: Type.Optional(Secret()),
  QUEUE_URL: Type.Optional(SecretUrl({ pattern: '^redis://', password: 'QUEUE_PASSWORD' })),
});
const load = (environment: Record<string, string>) => loadConfig(Settings, environment);
const strong = newOperatorToken();

/** What loading says; the canary is never in it. */
function problemsOf(environment: Record<string, string>, canary = strong): string {
  try {
    load(environment);
  } catch (error) {
    const { message, stack = '' } = error as Error;
    expect(stack).not.toContain(canary);
    return message;
  }
  return expect.fail('There was no problem.');
}

let folder: string;
beforeAll(async () => {
  folder = await testFolder();
});
const fileOf = async (name: string, content: string) => {
  await writeFile(join(folder, name), content);
  return join(folder, name);
};

describe('NAME_FILE', () => {
  it('holds the secret; one newline at its end is not part of it', async () => {
    for (const end of ['', '\n', '\r\n']) {
      expect(load({ TOKEN_FILE: await fileOf('good', strong + end) })).toEqual({ TOKEN: strong });
    }
    const twice = problemsOf({ TOKEN_FILE: await fileOf('newlines', `${strong}\n\n`) });
    expect(twice).toMatch(/^TOKEN: has blanks/);
  });

  it('beside NAME is refused, unless one of them is empty', async () => {
    const TOKEN_FILE = await fileOf('both', strong);
    expect(problemsOf({ TOKEN: strong, TOKEN_FILE })).toBe(
      'TOKEN: is given twice, by TOKEN and by TOKEN_FILE',
    );
    expect(load({ TOKEN: '', TOKEN_FILE })).toEqual({ TOKEN: strong });
    expect(load({ TOKEN: strong, TOKEN_FILE: '' })).toEqual({ TOKEN: strong });
  });

  it('that is missing, empty, a folder or the secret itself is named, and nothing of it told', async () => {
    const cannot = (why: string) => `TOKEN: the file of TOKEN_FILE cannot be read (${why})`;
    expect(problemsOf({ TOKEN_FILE: join(folder, 'absent') }, folder)).toBe(cannot('ENOENT'));
    expect(problemsOf({ TOKEN_FILE: folder }, folder)).toBe(cannot('EISDIR'));
    expect(problemsOf({ TOKEN_FILE: strong })).toBe(cannot('ENOENT'));
    expect(problemsOf({ TOKEN_FILE: `${strong}\0` })).toMatch(/^TOKEN: .* cannot be read/);
    for (const nothing of ['', '\n']) {
      const TOKEN_FILE = await fileOf('empty', nothing);
      expect(problemsOf({ TOKEN_FILE })).toBe('TOKEN: the file of TOKEN_FILE is empty');
    }
  });
});

/** Of all characters of ASCII that are seen. */
function randomPrintable(length: number): string {
  return Array.from({ length }, () => String.fromCharCode(randomInt(0x21, 0x7f))).join('');
}

describe('a secret', () => {
  it.each([
    ['changeme', 'guessed'],
    ['0123456789abcde', 'guessed'],
    ['x'.repeat(40), 'guessed'],
    ['a1'.repeat(32), 'guessed'],
    ['change-me-change-me-change-me', 'guessed'],
    ['my-private-api-token', 'guessed'],
    ['PrivateApiPassword123', 'guessed'],
    ['your-secret-token-here', 'guessed'],
    ['0123456789abcdef0123456789abcdef', 'guessed'],
    ['ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'guessed'],
    ['correcthorsebatterystaple', 'guessed'],
    ['correct-horse-battery-staple', 'guessed'],
    ['iloveyou'.repeat(8), 'guessed'],
    ['1qaz2wsx3edc4rfv5tgb6yhn', 'guessed'],
    ['zyxwvutsrqponmlkjihgfedcba9876543210', 'guessed'],
    ['InferenceServer-Production-Token-2026!', 'guessed'],
    ['p7Kd!x9Qm2#Zr4Tv', 'guessed'],
    ['super-secret-inference-server-token', 'guessed'],
    ['your-super-secret-private-api-token', 'guessed'],
    ['replace-this-with-a-long-random-secret', 'guessed'],
    ['insert-your-secret-token-here-please', 'guessed'],
    ['inference-server-private-api-secret', 'guessed'],
    ['my-very-secret-hospital-inference-token', 'guessed'],
    ['bitte-hier-ein-langes-geheimnis-eintragen', 'guessed'],
    ['super-secret-server-token-123456789-987654321', 'guessed'],
    [`${strong} `, 'blanks'],
    [`${strong}\nX-Other: 1`, 'blanks'],
    [`${strong}ä`, 'ASCII'],
  ])('%j is refused: %s', (TOKEN, why) => {
    const problem = problemsOf({ TOKEN }, TOKEN);
    expect(problem).toMatch(/^TOKEN: /);
    expect(problem).toContain(why);
    expect(problem).toMatch(/; make one: openssl rand -hex 32$/);
    expect(problem).not.toContain(TOKEN);
  });

  it('that is random is taken, however it is written', () => {
    for (let made = 0; made < 20; made += 1) {
      const bytes = randomBytes(32);
      for (const form of ['hex', 'base64', 'base64url'] as const) {
        expect(weaknessOf(bytes.toString(form))).toBeUndefined();
      }
      expect(weaknessOf(randomBytes(16).toString('hex'))).toBeUndefined();
      expect(weaknessOf(randomPrintable(24))).toBeUndefined();
    }
    // What is random in a token stands at its end.
    const derived = [publicApiToken(strong), consumerToken(strong, 'a'.repeat(58))];
    expect(derived.map(weaknessOf)).toEqual([undefined, undefined]);
  });
});

describe('the address of a service', () => {
  it('may hold any password, which is not judged', () => {
    const QUEUE_URL = 'redis://:x@127.0.0.1:1';
    expect(load({ QUEUE_URL })).toEqual({ QUEUE_URL });
  });

  it('gets the password that comes apart, whatever is in it', async () => {
    const password = `${strong}%41/@:#?`;
    const { QUEUE_URL = '' } = load({
      QUEUE_URL: 'redis://127.0.0.1:1/2',
      QUEUE_PASSWORD_FILE: await fileOf('password', `${password}\n`),
    });
    const { password: encoded, host, pathname } = new URL(QUEUE_URL);
    expect([decodeURIComponent(encoded), host, pathname]).toEqual([password, '127.0.0.1:1', '/2']);
  });

  it('and its password must fit, and nothing of either is told', () => {
    const QUEUE_URL = `redis://:${strong}@127.0.0.1:1`;
    expect(problemsOf({ QUEUE_URL, QUEUE_PASSWORD: newOperatorToken() })).toBe(
      'QUEUE_PASSWORD: QUEUE_URL has a password already',
    );
    expect(problemsOf({ QUEUE_URL: 'redis:///0', QUEUE_PASSWORD: strong })).toBe(
      'QUEUE_PASSWORD: QUEUE_URL names no host to which it belongs',
    );
    expect(problemsOf({ QUEUE_PASSWORD: strong })).toBe(
      'QUEUE_PASSWORD: there is no QUEUE_URL for it',
    );
    expect(problemsOf({ QUEUE_URL: `redis://:${strong}#/@127.0.0.1:1` })).toMatch(
      /^QUEUE_URL: is no URL; /,
    );
    expect(problemsOf({ QUEUE_URL: `http://:${strong}@127.0.0.1:1` })).toMatch(
      /^QUEUE_URL: must match pattern/,
    );
    expect(problemsOf({ QUEUE_URL: 'redis://127.0.0.1:1', QUEUE_PASSWORD: 'secret' })).toMatch(
      /^QUEUE_PASSWORD: could be guessed/,
    );
  });
});

it('is not in the environment that is handed on', () => {
  const environment = { PATH: '/bin', TOKEN: 'a', TOKEN_FILE: 'b', QUEUE_URL: 'c' };
  expect(withoutSecrets(Settings, { ...environment, QUEUE_PASSWORD_FILE: 'd' })).toEqual({
    PATH: '/bin',
  });
});
