import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { newOperatorToken, publicApiToken } from '@inference-server/service-kit';
import { ownRedis, testRedis, waitUntil } from '@inference-server/testing';
import { readConfig } from '../../src/config.js';
import { post, startLimited, untilCounted } from '../rates-scene.js';
import { keyOf, uid } from '../servers.js';

const statuses = (answers: { status: number }[]) => answers.map(({ status }) => status);

describe('requests', () => {
  test('of an address are limited, whatever the keys, and told in headers and body', async () => {
    const { ask } = await startLimited({ rates: { requestsPerAddress: 3 } });
    const policy = '"requests-per-address";q=3;w=10';
    for (const [at, letter] of ['a', 'b', 'c'].entries()) {
      const answer = await ask({ key: keyOf(letter) });
      expect(answer).toMatchObject({ status: 200, policy });
      expect(answer.left).toMatch(new RegExp(`^"requests-per-address";r=${2 - at};t=(9|10)$`));
    }
    const refused = await ask({ key: keyOf('d') });
    expect(refused).toMatchObject({ status: 429, policy });
    expect(refused.left).toMatch(/^"requests-per-address";r=0;t=(9|10)$/);
    expect(refused.body).toMatchObject({
      code: 'TOO_MANY_REQUESTS',
      quota: { policy: 'requests-per-address', unit: 'requests', limit: 3, used: 3, window_s: 10 },
    });
    expect(refused.retryAfterS).toBe(refused.body.quota?.reset_s);
    // Also without a key, and where nothing is.
    expect(await ask({ key: '' })).toMatchObject({ status: 429 });
    expect(await ask({ path: '/nowhere' })).toMatchObject({ status: 429 });
    expect(await ask({ from: '203.0.113.2' })).toMatchObject({ status: 200 });
  });

  test('of an IPv6 network are those of one address, and IPv4 is IPv4 however it is written', async () => {
    const { ask } = await startLimited({ rates: { requestsPerAddress: 2 } });
    expect(await ask({ from: '2001:db8:0:1::1' })).toMatchObject({ status: 200 });
    expect(await ask({ from: '2001:db8::1:ffff:0:0:7' })).toMatchObject({ status: 200 });
    expect(await ask({ from: '2001:db8:0:1:2:3:4:5' })).toMatchObject({ status: 429 });
    expect(await ask({ from: '2001:db8:0:2::1' })).toMatchObject({ status: 200 });
    expect(await ask({ from: '203.0.113.1' })).toMatchObject({ status: 200 });
    expect(await ask({ from: '::ffff:203.0.113.1' })).toMatchObject({ status: 200 });
    expect(await ask({ from: '::ffff:cb00:7101' })).toMatchObject({ status: 429 });
  });

  test('of a key are limited from wherever they come, and its posts beside them', async () => {
    const { ask } = await startLimited({
      rates: { requestsPerKey: 4, postsPerKey: 1, postsPerAddress: 9 },
    });
    const posted = await ask({ method: 'POST', path: post });
    expect(posted).toMatchObject({
      status: 200,
      policy: '"posts-per-address";q=9;w=10, "requests-per-key";q=4;w=10, "posts-per-key";q=1;w=10',
    });
    expect(posted.left).toMatch(
      /^"posts-per-address";r=8;t=\d+, "requests-per-key";r=3;t=\d+, "posts-per-key";r=0;t=\d+$/,
    );
    const again = await ask({ method: 'POST', path: post, from: '203.0.113.2' });
    expect(again).toMatchObject({ status: 429, body: { quota: { policy: 'posts-per-key' } } });
    expect(await ask()).toMatchObject({ status: 200 });
    expect(await ask({ from: '203.0.113.3' })).toMatchObject({ status: 200 });
    const refused = await ask({ from: '203.0.113.4' });
    expect(refused).toMatchObject({ status: 429, body: { quota: { policy: 'requests-per-key' } } });
    expect(await ask({ key: keyOf('b') })).toMatchObject({ status: 200 });
  });

  test('are let through again when the window is over', async () => {
    const { ask } = await startLimited({ rates: { requestsPerAddress: 1, windowS: 1 } });
    expect(statuses([await ask(), await ask()])).toEqual([200, 429]);
    expect(await waitUntil(async () => (await ask()).status === 200, { timeoutMs: 5_000 })).toBe(
      true,
    );
  });

  test('of this machine are not limited, those that a proxy on it passes on are', async () => {
    const { ask, app } = await startLimited({
      rates: { requestsPerAddress: 1, requestsPerKey: 1 },
      trustedProxies: ['loopback', 'uniquelocal'],
    });
    for (const from of ['', '127.0.0.1', '::1', '::ffff:127.0.0.1']) {
      expect(statuses([await ask({ from }), await ask({ from })])).toEqual([200, 200]);
    }
    expect(statuses([await ask(), await ask()])).toEqual([200, 429]);
    // What another machine says of itself counts for nothing.
    const inject = () =>
      app.inject({
        url: '/healthz',
        remoteAddress: '10.0.0.7',
        headers: { host: 'a', 'x-forwarded-for': '127.0.0.1' },
      });
    expect([(await inject()).statusCode, (await inject()).statusCode]).toEqual([200, 429]);
  });

  test('of which a proxy does not say from where they come are its own', async () => {
    const { ask, app } = await startLimited({
      rates: { requestsPerAddress: 2 },
      trustedProxies: ['loopback', '10.0.0.0/8'],
    });
    for (const from of ['unknown', '_hidden', '203.0.113.1:80', 'ü', '203.0.113.999, 127.0.0.1']) {
      const { status, body } = await ask({ from });
      expect({ status, body }, from).toMatchObject({ status: 200, body: { address: '127.0.0.1' } });
    }
    const inject = async (forwarded: string) => {
      const { statusCode } = await app.inject({
        url: '/healthz',
        remoteAddress: '10.0.0.7',
        headers: { host: 'a', 'x-forwarded-for': forwarded },
      });
      return statusCode;
    };
    expect([await inject('x'), await inject('y'), await inject('z')]).toEqual([200, 200, 429]);
    expect(await inject('203.0.113.8')).toBe(200);
  });

  test('of a client that polls 20 tasks every 0.2 s are never refused by the defaults', async () => {
    const { url } = await testRedis();
    const { rates } = readConfig({ PUBLIC_API_TOKEN: publicApiToken(newOperatorToken()) });
    const { ask, log } = await startLimited({ rates, redisUrl: url, queuePrefix: `p-${uid}` });
    const paths = Array.from(
      { length: 20 },
      (_, at) => `/api/tasks/${String(at).padStart(43, 'A')}`,
    );
    const seen = new Set<number>();
    let policy: string | undefined;
    // Longer than a window.
    const end = performance.now() + 12_000;
    for (let next = performance.now(); next < end; next += 200) {
      await sleep(Math.max(0, next - performance.now()));
      for (const answer of await Promise.all(paths.map((path) => ask({ path })))) {
        seen.add(answer.status);
        policy = answer.policy;
      }
    }
    expect([...seen]).toEqual([200]);
    expect(policy).toBe('"requests-per-address";q=10000;w=10, "requests-per-key";q=3000;w=10');
    expect(log).toEqual([]);
  }, 40_000);
});

describe('in Redis', () => {
  const limit = 50;
  const rates = { requestsPerAddress: limit, windowS: 60 };

  test('requests are counted together by public-apis that run side by side, each once', async () => {
    const redis = await testRedis();
    const one = await startLimited({ rates, redisUrl: redis.url, queuePrefix: redis.prefix });
    const other = await one.start();
    for (const ask of [one.ask, other.ask]) await untilCounted(redis.url, redis.prefix, ask);
    const answers = await Promise.all(
      Array.from({ length: 2 * limit }, (_, at) => (at % 2 === 0 ? one : other).ask()),
    );
    const passed = answers.filter(({ status }) => status === 200);
    expect(passed).toHaveLength(limit);
    const [first] = await redis.keys();
    expect(first).toBe(`${redis.prefix}-rates:requests-per-address:203.0.113.1`);
  });

  test('that is taken away they are not: each process counts for itself, until it is back', async () => {
    const redis = await ownRedis();
    const { ask, log } = await startLimited({ rates, redisUrl: redis.url, queuePrefix: 'q' });
    await untilCounted(redis.url, 'q', ask);
    await redis.stop();
    const away = await Promise.all(Array.from({ length: limit + 5 }, () => ask()));
    expect(new Set(statuses(away))).toEqual(new Set([200, 429]));
    const isTold = async () => log.includes('requests are counted without Redis');
    expect(await waitUntil(isTold, { timeoutMs: 5_000 })).toBe(true);
    const back = await ownRedis({ port: Number(new URL(redis.url).port) });
    const isBack = async () => log.includes('requests are counted in Redis again');
    expect(await waitUntil(isBack, { timeoutMs: 10_000 })).toBe(true);
    await untilCounted(back.url, 'q', ask);
    expect(log).toEqual([
      'requests are counted without Redis',
      'requests are counted in Redis again',
    ]);
    await back.stop();
  });

  test('that does not answer they keep nobody waiting but one a second', async () => {
    const redis = await ownRedis();
    const { ask, log } = await startLimited({
      rates: { requestsPerAddress: 1_000_000 },
      redisUrl: redis.url,
      queuePrefix: 'q',
    });
    await untilCounted(redis.url, 'q', ask);
    process.kill(redis.pid, 'SIGSTOP');
    try {
      await ask();
      const since = performance.now();
      const tooks: number[] = [];
      while (performance.now() - since < 3_000) {
        const from = performance.now();
        expect(await ask()).toMatchObject({ status: 200 });
        tooks.push(performance.now() - from);
      }
      expect(tooks.filter((ms) => ms >= 200).length).toBeLessThanOrEqual(4);
      expect(Math.max(...tooks)).toBeLessThan(2_000);
      expect(log).toEqual(['requests are counted without Redis']);
    } finally {
      process.kill(redis.pid, 'SIGCONT');
    }
    const isBack = async () => {
      await ask();
      return log.includes('requests are counted in Redis again');
    };
    expect(await waitUntil(isBack, { timeoutMs: 10_000 })).toBe(true);
  });
});
