import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { maxRefusals, type Refusal } from '@inference-server/contracts';
import { createRefusalTally, logInOperation, stranger } from '../src/index.js';

const refusal = {
  ...stranger,
  address: '192.0.2.1',
  operation_id: 'getTask',
  code: 'UNAUTHORIZED',
} as const;
const sumOf = (told: Refusal[]) => told.reduce((sum, { times }) => sum + times, 0);

function tallyInto(tell: (refusals: Refusal[]) => Promise<void>, everyMs = 3_600_000) {
  const logged: string[] = [];
  const logger = pino({}, { write: (line: string) => logged.push(line) });
  return { logged, tally: createRefusalTally({ tell, logger, everyMs }) };
}

function collecting(everyMs?: number) {
  const told: Refusal[] = [];
  const into = tallyInto(async (refusals) => void told.push(...refusals), everyMs);
  return { told, ...into };
}

describe('refused attempts', () => {
  it('that are alike are told as one, after a while and at the end', async () => {
    const { told, tally } = collecting(20);
    for (let time = 0; time < 3; time += 1) tally.note(refusal);
    tally.note({ ...refusal, address: '192.0.2.2' });
    await expect.poll(() => told.length).toBe(2);
    tally.note(refusal);
    await tally.close();
    expect(told).toEqual([
      { ...refusal, times: 3 },
      { ...refusal, address: '192.0.2.2', times: 1 },
      { ...refusal, times: 1 },
    ]);
  });

  it('of a flood are few rows, and all are counted', async () => {
    const { told, tally } = collecting();
    const flood = 20_000;
    for (let n = 0; n < flood; n += 1) {
      tally.note({ ...refusal, address: `2001:db8::${n.toString(16)}` });
    }
    await tally.close();
    expect(told.length).toBeLessThanOrEqual(maxRefusals / 3 + 1);
    expect(sumOf(told)).toBe(flood);
    expect(told.at(-1)).toMatchObject({ ...stranger, address: 'several' });
  });

  it('of strangers are no cover for those of somebody known, nor the other way round', async () => {
    for (const isKnown of [true, false]) {
      const { told, tally } = collecting();
      const nameOf = (n: number, known: boolean) =>
        known ? { owner: `key:${n}`, credential: `key:${n}` } : stranger;
      for (let n = 0; n < 1_000; n += 1) {
        const address = `2001:db8::${n.toString(16)}`;
        tally.note({ ...refusal, address, ...nameOf(n, !isKnown) });
      }
      const one = { ...refusal, ...nameOf(5_000, isKnown), address: '192.0.2.9' };
      tally.note(one);
      await tally.close();
      expect(told).toContainEqual({ ...one, times: 1 });
      expect(told.length).toBeLessThanOrEqual(maxRefusals);
    }
  });

  it('of names that nobody has proven to have are of strangers', async () => {
    const { told, tally } = collecting();
    for (let n = 0; n < 1_000; n += 1) {
      const somebody = { address: `2001:db8::${n.toString(16)}`, code: 'LOGIN_FAILED' } as const;
      const ada = { owner: 'user:ada', credential: 'user:ada', operation_id: logInOperation };
      tally.note({ ...refusal, ...somebody, ...ada });
      const nobody = { owner: 'anonymous', credential: 'anonymous' };
      tally.note({ ...refusal, ...somebody, ...nobody });
    }
    const one = { ...refusal, owner: 'key:a', credential: 'key:a' };
    tally.note(one);
    await tally.close();
    expect(told).toContainEqual({ ...one, times: 1 });
  });

  it('that cannot be told are kept, and told later', async () => {
    const told: Refusal[] = [];
    let isAway = true;
    let tries = 0;
    const { tally } = tallyInto(async (refusals) => {
      tries += 1;
      if (isAway) throw new Error('away');
      told.push(...refusals);
    }, 20);
    tally.note(refusal);
    await expect.poll(() => tries).toBeGreaterThan(1);
    tally.note(refusal);
    isAway = false;
    await expect.poll(() => told).toEqual([{ ...refusal, times: 2 }]);
    await tally.close();
  });

  it('that cannot be told at the end are a warning with their number', async () => {
    const { logged, tally } = tallyInto(() => Promise.reject(new Error('away')));
    for (let time = 0; time < 3; time += 1) tally.note(refusal);
    await tally.close();
    expect(logged.join('')).toContain('"attempts":3');
  });

  it('from an address that is none are of an unknown one', async () => {
    const { told, tally } = collecting();
    for (const address of ['nonsense', '10.0.0.1\u00e9', 'x'.repeat(5_000)]) {
      tally.note({ ...refusal, address });
    }
    tally.note({ ...refusal, address: '::ffff:192.0.2.1' });
    await tally.close();
    expect(told.map(({ address, times }) => [address, times])).toEqual([
      ['unknown', 3],
      ['::ffff:192.0.2.1', 1],
    ]);
  });
});
