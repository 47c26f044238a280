import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { allPhases, type Fault } from './fault.js';
import { end, freeze, restart } from './harm.js';

/** PostgreSQL and Redis: restarted, killed, frozen, emptied, full. */
export const serviceFaults: readonly Fault[] = [
  {
    name: 'PostgreSQL is restarted at once',
    phases: allPhases,
    strike: (scene) => restart(scene, scene.world.postgres, 'SIGQUIT', 0),
  },
  {
    name: 'PostgreSQL is frozen for 30 s',
    phases: ['post', 'claim', 'run', 'settle'],
    strike: (scene) => freeze(scene, scene.world.postgres, 30_000),
  },
  {
    name: 'Redis is away for 12 s',
    phases: ['post', 'ticket', 'claim', 'run'],
    strike: (scene) => restart(scene, scene.world.redis, 'SIGTERM', 12_000),
  },
  {
    name: 'Redis is away for 60 s',
    phases: ['ticket', 'run'],
    strike: (scene) => restart(scene, scene.world.redis, 'SIGTERM', 60_000),
  },
  {
    name: 'Redis is killed',
    phases: ['post', 'ticket', 'claim', 'run'],
    strike: (scene) => restart(scene, scene.world.redis, 'SIGKILL', 0),
  },
  {
    name: 'Redis is frozen',
    phases: ['ticket', 'claim', 'run'],
    strike: (scene) => freeze(scene, scene.world.redis, 12_000),
  },
  {
    name: 'FLUSHALL',
    phases: allPhases,
    async strike({ world, evidence, proof, goOn, undoing }) {
      const { pid } = world.redis;
      evidence('FLUSHALL', { pid, keys: await world.redis.ask('DBSIZE') });
      const answer = await world.redis.ask('FLUSHALL');
      if (answer.includes('OK')) proof('FLUSHALL', { pid, answer });
      undoing();
      goOn();
    },
  },
  {
    name: 'Redis has lost its data',
    phases: ['ticket', 'claim', 'run'],
    async strike(scene) {
      const { world, proof, goOn, undoing } = scene;
      await end(scene, world.redis, 'SIGKILL');
      const folder = join(world.folder, 'redis');
      for (const name of await readdir(folder)) {
        if (name.startsWith('append') || name.endsWith('.rdb')) {
          await rm(join(folder, name), { recursive: true });
          proof('removed', { file: name });
        }
      }
      goOn();
      undoing();
      await world.redis.start();
    },
  },
  {
    name: 'Redis is out of memory',
    phases: ['post', 'ticket', 'claim', 'run'],
    async strike({ world, evidence, proof, goOn, pause, undoing }) {
      const { pid } = world.redis;
      evidence('maxmemory 1', { pid, answer: await world.redis.ask('CONFIG SET maxmemory 1') });
      const answer = await world.redis.ask('SET fault-suite 1');
      if (answer.includes('OOM')) proof('nothing can be written', { pid, answer });
      goOn();
      await pause(6_000);
      undoing();
      await world.redis.ask('CONFIG SET maxmemory 0');
    },
  },
];
