import { waitUntil } from '@inference-server/local-services';
import type { Link } from '../world/link.js';
import { registryLink } from '../world/world.js';
import type { Fault, Scene } from './fault.js';
import { removeFrom, removeFromAll } from './pulled-image.js';

const kib = 1024;
const mib = 1024 * kib;
/** For each piece of an answer: 20 MiB take some seconds then. */
const slowMs = 15;

/** An image that has to be pulled again, and what can happen to a pull. */
export const imageFaults: readonly Fault[] = [
  {
    name: 'the image of a model is gone from the engines',
    model: 'pulled',
    phases: ['post', 'ticket', 'claim'],
    async strike(scene) {
      const link = linkOf(scene);
      await removeFromAll(scene);
      const before = link.passed('back');
      scene.undoing();
      scene.goOn();
      await untilPulled(link, before + mib);
      scene.proof('pulled again', { bytes: link.passed('back') - before });
    },
  },
  {
    name: 'the registry is killed in the middle of a pull',
    model: 'pulled',
    phases: ['ticket', 'claim'],
    async strike(scene) {
      const { world, random, goOn, pause, proof, undoing } = scene;
      const { registry } = world;
      const link = linkOf(scene);
      try {
        await removeFromAll(scene);
        link.delay(slowMs);
        const before = link.passed('back');
        goOn();
        await untilPulled(link, before + random.between(1, 16) * mib);
        const { name, pid } = registry;
        const passed = { bytes: link.passed('back') - before, connections: link.count() };
        const end = await registry.end('SIGKILL');
        if (end !== undefined && passed.connections > 0) {
          proof('SIGKILL', { service: name, pid, ...end, ...passed });
        }
        await pause(5_000);
      } finally {
        undoing();
        link.heal();
        if (registry.pid === undefined) await registry.start();
      }
    },
  },
  {
    name: 'connections of a pull are cut at random bytes',
    model: 'pulled',
    phases: ['ticket', 'claim'],
    async strike(scene) {
      const { random, goOn, pause, proof, undoing } = scene;
      const link = linkOf(scene);
      let cuts = 0;
      const cutting = async () => {
        while (cuts < 4) {
          // In what comes before the layer, then in the layer, and so on.
          const [least, most] = cuts % 2 === 0 ? [1, 16 * kib] : [64 * kib, 16 * mib];
          const bytes = random.between(least, most);
          proof('cut', { ...(await link.cutAfter('back', bytes)), after: bytes });
          cuts += 1;
        }
      };
      try {
        await removeFromAll(scene);
        const done = cutting();
        goOn();
        await Promise.race([done, pause(25_000)]);
      } finally {
        undoing();
        link.heal();
      }
    },
  },
  {
    name: 'the image of a model is removed again and again',
    model: 'pulled',
    phases: ['ticket', 'claim'],
    async strike(scene) {
      const { world, goOn, pause, proof, undoing } = scene;
      const link = linkOf(scene);
      await removeFromAll(scene);
      const before = link.passed('back');
      goOn();
      const until = performance.now() + 4_000;
      while (performance.now() < until) {
        for (const engine of world.engines) await removeFrom(scene, engine);
        await pause(100);
      }
      undoing();
      // Whoever wanted it in between had to pull it again.
      if (await waitUntil(() => link.passed('back') >= before + mib, { timeoutMs: 30_000 })) {
        proof('pulled again', { bytes: link.passed('back') - before });
      }
    },
  },
];

function linkOf({ world }: Scene): Link {
  const link = world.links.get(registryLink);
  if (link === undefined) throw new Error('There is no link to the registry.');
  return link;
}

/** Until so many bytes in all have come from the registry. */
async function untilPulled(link: Link, bytes: number): Promise<void> {
  const before = link.passed('back');
  const isPulled = () => link.passed('back') >= bytes;
  if (await waitUntil(isPulled, { timeoutMs: 30_000 })) return;
  throw new Error(`Only ${link.passed('back') - before} bytes were pulled.`);
}
