import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../src/index.js';

const Settings = Type.Object({
  PORT: Type.Integer({ minimum: 0, maximum: 65_535, default: 8000 }),
  NAME: Type.String(),
  SECRET: Type.Optional(Type.String({ minLength: 4 })),
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'config-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('loadConfig', () => {
  it('reads, coerces and fills in defaults', () => {
    expect(loadConfig(Settings, { NAME: 'x', OTHER: 'ignored' })).toEqual({
      PORT: 8000,
      NAME: 'x',
    });
    expect(loadConfig(Settings, { NAME: 'x', PORT: '1' }).PORT).toBe(1);
  });

  it('takes an empty value as unset', () => {
    expect(loadConfig(Settings, { NAME: 'x', PORT: '' }).PORT).toBe(8000);
  });

  it('reads NAME_FILE, as docker secrets come', async () => {
    const file = join(folder, 'secret');
    await writeFile(file, 'hush hush\n');
    expect(loadConfig(Settings, { NAME: 'x', SECRET_FILE: file }).SECRET).toBe('hush hush');
  });

  it('tells every problem at once', () => {
    const load = () =>
      loadConfig(Settings, { PORT: 'many', SECRET: 'abc', NAME_FILE: join(folder, 'absent') });
    expect(load).toThrow(ConfigError);
    expect(load).toThrow(/NAME: the file of NAME_FILE cannot be read \(ENOENT\)/);
    expect(load).toThrow(/PORT: must be integer/);
    expect(load).toThrow(/SECRET: must NOT have fewer than 4 characters/);
  });
});
