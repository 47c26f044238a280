import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import { openReplicaScene, type ReplicaScene } from '../replica-scene.js';

let scene: ReplicaScene;
const small = { needs: needs({ memory_mib: 128 }) };
const signal = new AbortController().signal;

beforeAll(async () => {
  scene = await openReplicaScene();
});

afterEach(async () => {
  await scene.closeAll();
  await scene.removeAll();
});

const start = (options: Parameters<ReplicaScene['start']>[0] = {}) =>
  scene.start({ limits: { memoryBytes: 256 * 1024 ** 2 }, ...options });

describe('a replica', () => {
  it('is brought up, answers from the host, and is gone when it is stopped', async () => {
    const { id } = await start();
    const replica = scene.order(id);
    const address = await scene.untilReady(replica);
    expect(address).toMatch(/^10\.\d+\.\d+\.\d+:9090$/);
    expect(await scene.statusOf(address)).toBe('12');
    const found = await scene.engine.inspectContainer(
      scene.namesOf(id, replica.id).name('replica'),
      signal,
    );
    expect(found?.volumes).toHaveLength(1);

    scene.replicas.stop(id, replica.id);
    const end = await scene.untilEnded(replica);
    expect(end).toMatchObject({ reason: 'stopped', exit_code: 0, log: 'begins\n' });
    expect(scene.replicas.history(replica.id).map(({ state }) => state)).toEqual([
      'starting',
      'ready',
      'ended',
    ]);
    expect(await onlyModelVolumes()).toBe(true);
  });

  it('is gone when nobody orders it any more', async () => {
    const { id } = await start();
    const replica = scene.order(id);
    await scene.untilReady(replica);
    scene.replicas.stop(id, replica.id, 'forget');
    expect(await scene.untilEnded(replica)).toMatchObject({ reason: 'stopped' });
    expect(await onlyModelVolumes()).toBe(true);
  });

  it('is ready when its Status says so, and not before', async () => {
    const { id } = await start({ hosting: { startTimeoutMs: 1_500 } });
    const [serving, unknown, never] = [
      scene.order(id, { status: '1' }, small),
      scene.order(id, { status: '0' }, small),
      scene.order(id, { status: '2' }, small),
    ];
    await scene.untilReady(serving);
    await scene.untilReady(unknown);
    expect(await scene.untilEnded(never)).toMatchObject({
      reason: 'start_failed',
      detail: 'It did not serve on port 9090 within 1.5 s: Its Status is NOT_SERVING.',
      log: 'begins\n',
    });
  });

  it('has its contract and its files on /model, for reading', async () => {
    const { id } = await start();
    const before = `
      const { readdirSync, writeFileSync } = await import('node:fs');
      console.log(readFileSync('/model/contract.protobin').toString('hex').slice(0, 12));
      console.log(readdirSync('/model', { recursive: true }).sort().join(' '));
      try { writeFileSync('/model/new', ''); } catch (error) { console.log(error.code); }
      console.log(readdirSync('/').filter((name) => ['input', 'output'].includes(name)).length);
      process.exit(3);`;
    const replica = scene.order(id, { before, tree: { 'data/weights.bin': 'w' } });
    const end = await scene.untilEnded(replica);
    expect(end).toMatchObject({
      reason: 'exited',
      exit_code: 3,
      detail: 'The container ended with exit code 3 before it served.',
    });
    expect(end?.log.split('\n').slice(1)).toEqual([
      '0a0474657374',
      'contract.protobin files files/data files/data/weights.bin files/server.mjs',
      'EROFS',
      '0',
      '',
    ]);
  });

  it('has the zip of its model as it is where that has a contract', async () => {
    const { id } = await start();
    const before = `
      const { readdirSync } = await import('node:fs');
      console.log(readFileSync('/model/contract.protobin', 'utf8'), readdirSync('/model').sort());
      process.exit(3);`;
    const replica = scene.order(
      id,
      {
        tree: {
          'contract.protobin': 'own',
          'files/server.mjs': `import { readFileSync } from 'node:fs';${before}`,
        },
      },
      { has_contract_file: true },
    );
    const end = await scene.untilEnded(replica);
    expect(end?.log).toBe("own [ 'contract.protobin', 'files', 'server.mjs' ]\n");
  });

  it('tells how its container ended, with the end of its log', async () => {
    const { id } = await start();
    const before = `setTimeout(() => { console.error('broken'); process.exit(7); }, 1500);`;
    const replica = scene.order(id, { before });
    await scene.untilReady(replica);
    expect(await scene.untilEnded(replica)).toEqual({
      reason: 'exited',
      detail: 'The container ended with exit code 7.',
      exit_code: 7,
      out_of_memory: false,
      log: 'begins\nbroken\n',
    });
    expect(await onlyModelVolumes()).toBe(true);
  });

  it('tells of its end without its log where that is refused', async () => {
    const { id } = await start();
    scene.replicas.refusesLogsOf.add(id);
    const replica = scene.order(id, { before: 'process.exit(7);' });
    expect(await scene.untilEnded(replica)).toMatchObject({ exit_code: 7, log: '' });
  });

  it('is kept while its reports are refused for another process, and told of after that', async () => {
    const { id } = await start();
    const replica = scene.order(id, {}, small);
    const address = await scene.untilReady(replica);
    scene.replicas.replaced.add(id);
    const refused = scene.replicas.refusals + 2;
    await expect.poll(() => scene.replicas.refusals, { timeout: 10_000 }).toBeGreaterThan(refused);
    expect(await scene.statusOf(address)).toBe('12');
    scene.replicas.replaced.delete(id);
    await scene.untilReady(scene.order(id, {}, small));
    scene.replicas.stop(id, replica.id);
    expect(await scene.untilEnded(replica)).toMatchObject({ reason: 'stopped' });
  });

  it('tells that it wanted more memory than it may have', async () => {
    const { id } = await start();
    const before = `const all = []; setInterval(() => all.push(Buffer.alloc(16 * 1024 ** 2, 1)), 5);`;
    const replica = scene.order(id, { before }, { needs: needs({ memory_mib: 96 }) });
    expect(await scene.untilEnded(replica)).toMatchObject({
      reason: 'exited',
      exit_code: 137,
      out_of_memory: true,
    });
  });

  it('is not begun without its image', async () => {
    const { id } = await start();
    const replica = scene.order(id, {}, { container_tag: 'nobody/has:this' });
    const end = await scene.untilEnded(replica);
    expect(end).toMatchObject({ reason: 'image', exit_code: null, log: '' });
    expect(end?.detail).toContain('nobody/has:this');
  });

  it('is not begun against the policy of the host', async () => {
    const { id } = await start({ policy: { images: [{ name: 'elsewhere/*' }] } });
    const end = await scene.untilEnded(scene.order(id));
    expect(end).toMatchObject({ reason: 'start_failed' });
    expect(end?.detail).toContain('The policy of this host does not let it run');
  });

  it('is not started while another has what it needs, and takes it as soon as that is gone', async () => {
    const { id } = await start();
    const large = { needs: needs({ memory_mib: 700 }) };
    const [first, second] = [scene.order(id, {}, large), scene.order(id, {}, large)];
    await expect
      .poll(
        () =>
          [first, second].filter((one) => scene.replicas.said(one.id)?.state === 'ready').length,
        { timeout: 10_000 },
      )
      .toBe(1);
    const isFirst = scene.replicas.said(first.id)?.state === 'ready';
    const [ready, waiting] = isFirst ? [first, second] : [second, first];
    expect((await scene.containerOf(id, waiting))?.state).toBe('created');
    scene.replicas.stop(id, ready.id);
    await scene.untilReady(waiting);
  });

  it('is not begun where it wants more than there is, which is no fault of the engine', async () => {
    const { id } = await start();
    const large = { needs: needs({ memory_mib: 100_000 }) };
    for (let n = 0; n < 3; n += 1) {
      const end = await scene.untilEnded(scene.order(id, {}, large));
      expect(end).toMatchObject({
        reason: 'start_failed',
        detail: 'It needs more than this consumer has.',
      });
    }
    await scene.untilReady(scene.order(id, {}, small));
    const states = scene.registrationsOf(id).map(({ state }) => state);
    expect(states).not.toContain('quarantined');
  });

  it('takes no place of a task', async () => {
    const { id } = await start({ slots: 1 });
    const replica = scene.order(id, {}, small);
    await scene.untilReady(replica);
    const task = scene.addTask('true');
    await scene.send(id, [task]);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    expect((await scene.containerOf(id, replica))?.state).toBe('running');
  });
});

/** Whether nothing is in the engine but the files of models, which are kept. */
async function onlyModelVolumes(): Promise<boolean> {
  await expect
    .poll(async () =>
      (await scene.tracesOf()).filter((one) => !/^volume .*-(?:model|used)-/.test(one)),
    )
    .toEqual([]);
  return true;
}
