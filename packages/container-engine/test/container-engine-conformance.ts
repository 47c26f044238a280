import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { AppError } from '@inference-server/errors';
import type { ContainerEngine, ContainerSpec } from '../src/container-engine.js';
import { describeNetworks } from './network-conformance.js';
import { describeProcesses } from './process-conformance.js';
import { readTar, tarOf } from './tiny-tar.js';
import { describeUsage } from './usage-conformance.js';
import { describeVolumes } from './volume-conformance.js';

/** What a conformance run needs to know of the adapter's surroundings. The engine runs on this machine. */
export interface Surroundings {
  engine: ContainerEngine;
  /** An image that is there, with a busybox; runs as root, and has a volume /anonymous. */
  image: string;
  /** The same, running as 1000:1000. */
  userImage: string;
  /** The names of all volumes that the engine has. */
  allVolumes: () => Promise<string[]>;
}

/** What every adapter of the port does. `surroundings` is called inside the tests. */
export function describeContainerEngine(name: string, surroundings: () => Surroundings): void {
  describe(`${name} as a container engine`, () => {
    const signal = new AbortController().signal;
    const run = randomUUID();
    const labels = { 'test.run': run };
    let count = 0;

    const engineOf = () => surroundings().engine;
    const freshName = () => `test-${run}-${(count += 1)}`;
    const specOf = (command: string, more: Partial<ContainerSpec> = {}): ContainerSpec => ({
      name: freshName(),
      image: surroundings().image,
      labels,
      mounts: [],
      command: ['sh', '-c', command],
      environment: {},
      limits: {
        memoryBytes: 64 * 1024 ** 2,
        cpus: 1,
        processes: 50,
        shmBytes: 1024 ** 2,
        logBytes: 16 * 1024 ** 2,
        fileBytes: 1024 ** 3,
      },
      gpus: [],
      ...more,
    });
    const runToEnd = async (spec: ContainerSpec) => {
      const engine = engineOf();
      const id = await engine.createContainer(spec, signal);
      const exit = engine.waitForExit(id, signal);
      const start = await engine.startContainer(id, signal);
      expect(start).toEqual({ started: true });
      return { id, exit: await exit };
    };
    const logOf = (id: string) =>
      engineOf().readLogs(id, { maxBytes: 10_000, maxLines: 1000 }, signal);

    afterEach(async () => {
      const engine = engineOf();
      for (const { id } of await engine.listContainers(labels, signal)) {
        await engine.removeContainer(id, signal);
      }
      for (const volume of await engine.listVolumes(labels, signal)) {
        await engine.removeVolume(volume.name, signal);
      }
      for (const network of await engine.listNetworks(labels, signal)) {
        await engine.removeNetwork(network.id, signal);
      }
    });

    it('tells its time, by which its containers start', async () => {
      const { engine } = surroundings();
      const before = await engine.readClock(signal);
      const id = await engine.createContainer(specOf('true'), signal);
      await engine.startContainer(id, signal);
      await engine.waitForExit(id, signal);
      const { startedAt, endedAt } = (await engine.inspectContainer(id, signal)) ?? {};
      const after = await engine.readClock(signal);
      // The end of a short run may be dated before its start: that is dated when the engine hears of it.
      for (const time of [startedAt, endedAt]) {
        expect(time?.getTime()).toBeGreaterThanOrEqual(before.getTime());
        expect(time?.getTime()).toBeLessThanOrEqual(after.getTime());
      }
    });

    it('describes what its host has', async () => {
      const { cpus, memoryBytes, runtimes, cdiDevices } = await engineOf().describe(signal);
      expect(cpus).toBeGreaterThanOrEqual(1);
      expect(memoryBytes).toBeGreaterThan(64 * 1024 ** 2);
      expect(runtimes).toContain('runc');
      expect(cdiDevices).toEqual(expect.any(Array));
    });

    it('answers a ping', async () => {
      await engineOf().ping(signal);
    });

    it('rejects with the reason of a signal that has aborted', async () => {
      const reason = new AppError('CONFLICT', 'stop');
      await expect(engineOf().ping(AbortSignal.abort(reason))).rejects.toBe(reason);
    });

    describe('images', () => {
      it('tells the user of an image, and that one is absent', async () => {
        const { engine, image, userImage } = surroundings();
        expect(await engine.inspectImage(image, signal)).toMatchObject({ user: '' });
        expect(await engine.inspectImage(userImage, signal)).toMatchObject({ user: '1000:1000' });
        expect(await engine.inspectImage('absent:1', signal)).toBeUndefined();
      });

      it('fails to pull from a registry that is not there', async () => {
        const pull = engineOf().pullImage('127.0.0.1:9/absent:1', signal);
        await expect(pull).rejects.toMatchObject({ problem: 'failed' });
      });
    });

    const userImage = () => surroundings().userImage;
    describeProcesses({ engineOf, userImage, specOf, signal });
    describeUsage({ engineOf, specOf, signal });
    describeNetworks({ engineOf, freshName, specOf, runToEnd, logOf, labels, signal });
    describeVolumes({ engineOf, freshName, specOf, runToEnd, logOf, labels, signal });

    describe('containers', () => {
      it('runs one to its end and tells the exit code', async () => {
        const { id, exit } = await runToEnd(specOf('exit 7'));
        expect(exit).toEqual({
          exitCode: 7,
          outOfMemory: false,
          startError: undefined,
          interrupted: false,
        });
        expect(await engineOf().inspectContainer(id, signal)).toMatchObject({
          state: 'exited',
          exitCode: 7,
          labels,
        });
      });

      it('tells the end of one that ended long before', async () => {
        const { id } = await runToEnd(specOf('exit 3'));
        expect(await engineOf().waitForExit(id, signal)).toMatchObject({ exitCode: 3 });
      });

      it('tells that a wanted container or image is absent, and a name in use', async () => {
        const engine = engineOf();
        const spec = specOf('true');
        await engine.createContainer(spec, signal);
        await expect(engine.createContainer(spec, signal)).rejects.toMatchObject({
          problem: 'name_in_use',
          code: 'CONFLICT',
        });
        const imageless = { ...specOf('true'), image: 'absent:1' };
        await expect(engine.createContainer(imageless, signal)).rejects.toMatchObject({
          problem: 'image_absent',
        });
        const absent = { problem: 'container_absent', code: 'NOT_FOUND' };
        await expect(engine.startContainer('absent', signal)).rejects.toMatchObject(absent);
        await expect(engine.waitForExit('absent', signal)).rejects.toMatchObject(absent);
        await expect(engine.getArchive('absent', '/', signal)).rejects.toMatchObject(absent);
        await expect(logOf('absent')).rejects.toMatchObject(absent);
        expect(await engine.inspectContainer('absent', signal)).toBeUndefined();
      });

      it('tells that a process was killed for memory', async () => {
        // One that ends at once may take the engine's word of it along.
        const { exit } = await runToEnd(
          specOf('head -c 200m /dev/zero | tail -n 1; sleep 1; exit 1'),
        );
        expect(exit.outOfMemory).toBe(true);
      });

      it('waits through a long run, and stops it with a signal that it hears', async () => {
        const engine = engineOf();
        const spec = specOf('trap "exit 5" TERM; echo ready; while true; do sleep 0.1; done');
        const id = await engine.createContainer(spec, signal);
        await engine.startContainer(id, signal);
        const exit = engine.waitForExit(id, signal);
        // A signal that comes before the trap is set would be lost.
        await expect.poll(async () => (await logOf(id)).text, { timeout: 10_000 }).toBe('ready\n');
        await engine.stopContainer(id, 10_000, signal);
        expect(await exit).toMatchObject({ exitCode: 5, interrupted: true });
        await engine.stopContainer(id, 10_000, signal);
      });

      it('kills one that does not listen', async () => {
        const engine = engineOf();
        const id = await engine.createContainer(specOf('trap "" TERM; sleep 1000'), signal);
        await engine.startContainer(id, signal);
        await engine.startContainer(id, signal);
        await engine.stopContainer(id, 0, signal);
        expect(await engine.waitForExit(id, signal)).toMatchObject({ exitCode: 137 });
      });

      it('stops waiting when told to', async () => {
        const engine = engineOf();
        const id = await engine.createContainer(specOf('sleep 1000'), signal);
        await engine.startContainer(id, signal);
        const reason = new AppError('CONFLICT', 'enough');
        const waiting = engine.waitForExit(id, AbortSignal.any([AbortSignal.abort(reason)]));
        await expect(waiting).rejects.toBe(reason);
      });

      it('removes running ones, their anonymous volumes, and absent ones', async () => {
        const { engine, allVolumes } = surroundings();
        const before = await allVolumes();
        const id = await engine.createContainer(specOf('sleep 1000'), signal);
        await engine.startContainer(id, signal);
        expect(await allVolumes()).toHaveLength(before.length + 1);
        await Promise.all([engine.removeContainer(id, signal), engine.removeContainer(id, signal)]);
        expect(await engine.inspectContainer(id, signal)).toBeUndefined();
        expect(await allVolumes()).toEqual(before);
        await engine.removeContainer(id, signal);
      });

      it('lists by all the labels, in whatever state', async () => {
        const engine = engineOf();
        const spec = specOf('true', { labels: { ...labels, kind: 'wanted' } });
        const id = await engine.createContainer(spec, signal);
        await engine.createContainer(specOf('true'), signal);
        const found = await engine.listContainers({ ...labels, kind: 'wanted' }, signal);
        expect(found).toMatchObject([{ id, name: spec.name, state: 'created', labels }]);
      });
    });

    describe('storage', () => {
      it('tells what a running container has written: in its layer, and in its volumes', async () => {
        const engine = engineOf();
        const [name, readOnly] = [freshName(), freshName()];
        await engine.createVolume({ name, labels }, signal);
        await engine.createVolume({ name: readOnly, labels }, signal);
        const mounts = [
          { volume: name, path: '/data', readOnly: false },
          { volume: readOnly, path: '/given', readOnly: true },
        ];
        const script =
          'head -c 3000000 /dev/zero > /data/a; cd /data; ln a b; truncate -s 5000000 /data/sparse;' +
          'head -c 2000000 /dev/zero > /tmp/a; head -c 1000 /dev/zero > /anonymous/a; echo; sleep 100';
        const id = await engine.createContainer(specOf(script, { mounts }), signal);
        const idle = await engine.createContainer(specOf('true'), signal);
        await engine.startContainer(id, signal);
        await expect.poll(async () => (await logOf(id)).text, { timeout: 10_000 }).toBe('\n');
        const found = await engine.measureStorage([id, '0'.repeat(64), idle], signal);
        expect(new Set(found.map((storage) => storage.id))).toEqual(new Set([id, idle]));
        const used = found.find((storage) => storage.id === id);
        expect(Math.round((used?.layerBytes ?? 0) / 1e5)).toBe(20);
        expect(used?.volumes.map(({ path, bytes }) => [path, bytes]).sort()).toEqual([
          ['/anonymous', 1000],
          ['/data', 8_000_000],
        ]);
        expect(used?.volumes.map(({ volume }) => volume)).toContain(name);
        const sizes = await engine.measureVolumes(signal);
        expect([sizes.get(name), sizes.get(readOnly)]).toEqual([8_000_000, 0]);
      });

      it('can be asked by many at once', async () => {
        const engine = engineOf();
        const id = await engine.createContainer(specOf('true'), signal);
        const answers = await Promise.all(
          Array.from({ length: 8 }, () => engine.measureStorage([id], signal)),
        );
        for (const [storage] of answers) expect(storage).toMatchObject({ id, layerBytes: 0 });
        expect(await engine.measureStorage([], signal)).toEqual([]);
      });

      it('bounds the length of one file, sparse or not, wherever it lies', async () => {
        const spec = specOf(
          'truncate -s 9000 /tmp/a; echo $?; dd if=/dev/zero of=/anonymous/b bs=1000 count=9; echo $?; ' +
            'ls -l /anonymous/b /tmp/a | tr -s " " | cut -d" " -f5',
        );
        const { id } = await runToEnd({ ...spec, limits: { ...spec.limits, fileBytes: 4000 } });
        const { text } = await logOf(id);
        const lines = text.split('\n').filter((line) => /^\d+$/.test(line));
        // 153: 128 and the number of SIGXFSZ.
        expect(lines).toEqual(['153', '153', '4000', '0']);
      });
    });

    describe('archives', () => {
      it('fills a volume through a container that never starts, and reads it back', async () => {
        const engine = engineOf();
        const name = freshName();
        await engine.createVolume({ name, labels }, signal);
        const mounts = [{ volume: name, path: '/data', readOnly: false }];
        const id = await engine.createContainer(specOf('true', { mounts }), signal);
        const tar = tarOf([
          { name: './', mode: 0o777 },
          { name: 'folder/' },
          { name: 'folder/file', content: 'hello' },
        ]);
        await engine.putArchive(id, '/data', tar, signal);
        const found = await readTar(await engine.getArchive(id, '/data', signal));
        expect([...found.keys()]).toEqual(['data/', 'data/folder/', 'data/folder/file']);
        expect(String(found.get('data/folder/file'))).toBe('hello');
      });

      it('tells that a path is absent', async () => {
        const engine = engineOf();
        const id = await engine.createContainer(specOf('true'), signal);
        const absent = { problem: 'path_absent' };
        await expect(engine.getArchive(id, '/nowhere', signal)).rejects.toMatchObject(absent);
        const named = await engine
          .getArchive(id, '/patient', signal)
          .catch((error: unknown) => error);
        expect(inspect(named, { depth: 9 })).not.toContain('patient');
        const put = engine.putArchive(id, '/nowhere', tarOf([{ name: './' }]), signal);
        await expect(put).rejects.toMatchObject(absent);
      });

      it('rejects with the error of the tar, and destroys it', async () => {
        const engine = engineOf();
        const id = await engine.createContainer(specOf('true'), signal);
        const refused = new AppError('ZIP_REFUSED', 'The checksum of entry 3 is wrong.');
        const failing = new Readable({ read() {} });
        failing.push(Buffer.alloc(512));
        setTimeout(() => failing.destroy(refused), 50);
        await expect(engine.putArchive(id, '/tmp', failing, signal)).rejects.toBe(refused);
      });

      it('does not hang on a tar that is destroyed without an error', async () => {
        const engine = engineOf();
        const id = await engine.createContainer(specOf('true'), signal);
        const cut = new Readable({ read() {} });
        cut.push(Buffer.alloc(512));
        setTimeout(() => cut.destroy(), 50);
        const put = engine.putArchive(id, '/tmp', cut, signal);
        await expect(put).rejects.toBeInstanceOf(AppError);
      });

      it('destroys an endless tar when the engine refuses it', async () => {
        const endless = new Readable({
          read() {
            this.push(Buffer.alloc(65536, 1));
          },
        });
        const put = engineOf().putArchive('absent', '/tmp', endless, signal);
        await expect(put).rejects.toBeInstanceOf(AppError);
        expect(endless.destroyed).toBe(true);
      });

      it('stops a transfer when told to', async () => {
        const engine = engineOf();
        const { id } = await runToEnd(specOf('dd if=/dev/zero of=/tmp/big bs=1M count=50'));
        const stop = new AbortController();
        const reason = new AppError('CONFLICT', 'enough');
        const tar = await engine.getArchive(id, '/tmp', stop.signal);
        const reading = (async () => {
          for await (const chunk of tar) {
            void chunk;
            stop.abort(reason);
          }
        })();
        await expect(reading).rejects.toBe(reason);
        const silent = new Readable({ read() {} });
        const stopPut = new AbortController();
        setTimeout(() => {
          stopPut.abort(reason);
        }, 50);
        const put = engine.putArchive(id, '/tmp', silent, stopPut.signal);
        await expect(put).rejects.toBe(reason);
        expect(silent.destroyed).toBe(true);
      });
    });

    describe('logs', () => {
      it('gives both streams, and lines that look like something else, as they are', async () => {
        const { id } = await runToEnd(specOf('echo \'{"log":"x"}\'; echo err >&2; printf "é"'));
        const { text, cut } = await logOf(id);
        expect(text.split('\n').sort()).toEqual(['err', '{"log":"x"}', 'é'].sort());
        expect(cut).toBe(false);
      });

      it('gives the end of a long one', async () => {
        const { id } = await runToEnd(specOf('seq 200000'));
        const tail = await engineOf().readLogs(id, { maxBytes: 100, maxLines: 1e6 }, signal);
        expect(Buffer.byteLength(tail.text)).toBe(100);
        expect(tail.text.endsWith('199999\n200000\n')).toBe(true);
        expect(tail.cut).toBe(true);
        const lines = await engineOf().readLogs(id, { maxBytes: 1000, maxLines: 2 }, signal);
        expect(lines.text).toBe('199999\n200000\n');
      });

      it('is empty for one that never started', async () => {
        const id = await engineOf().createContainer(specOf('true'), signal);
        expect(await logOf(id)).toEqual({ text: '', cut: false });
      });
    });
  });
}
