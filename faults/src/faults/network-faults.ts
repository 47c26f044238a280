import { waitUntil } from '@inference-server/local-services';
import type { ModelName } from '../load/models.js';
import type { Harms, Link } from '../world/link.js';
import { registryLink } from '../world/world.js';
import { allPhases, longerThanLeaseMs, type Fault, type Phase, type Scene } from './fault.js';
import { removeFromAll } from './pulled-image.js';

interface Way {
  name: string;
  pattern: RegExp;
  /** Those in which something goes over it. */
  phases: readonly Phase[];
  model?: ModelName;
  /** Sees to it that something does. */
  prepare?(scene: Scene): Promise<void>;
}

const ways: readonly Way[] = [
  { name: 'client and public-api', pattern: /^client-public$/, phases: ['post', 'run', 'settle'] },
  {
    name: 'client and private-api',
    pattern: /^client-private$/,
    phases: ['post', 'run', 'settle'],
  },
  {
    name: 'public-api and private-api',
    pattern: /^public-api-.*-private$/,
    phases: ['post', 'run'],
  },
  { name: 'private-api and PostgreSQL', pattern: /-postgres$/, phases: allPhases },
  {
    name: 'private-api and Redis',
    pattern: /^private-api-.*-redis$/,
    phases: ['post', 'ticket', 'claim'],
  },
  {
    name: 'consumer and private-api',
    pattern: /^job-consumer-.*-private$/,
    phases: ['ticket', 'claim', 'stage', 'run', 'collect', 'settle'],
  },
  {
    name: 'consumer and Redis',
    pattern: /^job-consumer-.*-redis$/,
    phases: ['ticket', 'claim', 'run'],
  },
  {
    name: 'consumer and engine',
    pattern: /^job-consumer-.*-engine$/,
    phases: ['claim', 'stage', 'run', 'collect', 'settle'],
  },
  {
    name: 'engine and registry',
    pattern: new RegExp(`^${registryLink}$`),
    // Later than that the image is there.
    phases: ['ticket', 'claim'],
    model: 'pulled',
    prepare: removeFromAll,
  },
];

/** What a container's creation by the consumer is waited for at most, and a little more. */
const longerThanCreationMs = 35_000;

/** Between every pair: cut, refused, silent, slow. */
export const networkFaults: readonly Fault[] = [
  ...ways.flatMap((way): Fault[] => {
    const { name, pattern, phases, model } = way;
    const of = { phases, ...(model !== undefined && { model }) };
    return [
      {
        name: `connections cut: ${name}`,
        ...of,
        async strike(scene) {
          await way.prepare?.(scene);
          await cutConnections(scene, linksOf(scene, pattern));
        },
      },
      {
        name: `no way: ${name}`,
        ...of,
        async strike(scene) {
          await way.prepare?.(scene);
          await harm(scene, pattern, {
            begin: (link) => link.refuse(),
            end: (link) => link.heal(),
            isHit: ({ cut, refused }) => cut + refused > 0,
          });
        },
      },
      {
        name: `half-open: ${name}`,
        ...of,
        async strike(scene) {
          const held = scene.random.pick(['goes on', 'is lost'] as const);
          scene.evidence('to be held', { held });
          await way.prepare?.(scene);
          await harm(scene, pattern, {
            isSilent: true,
            begin: (link) => link.hold(),
            end: (link) => link.heal(held),
            isHit: (harms) => harms.held > 0,
          });
        },
      },
    ];
  }),
  {
    name: 'uploads, downloads and relays are cut at random bytes',
    phases: ['post', 'stage', 'collect'],
    strike: (scene) => cutAtRandomBytes(scene),
  },
  {
    name: 'everything is slow',
    phases: ['post', 'stage', 'collect'],
    strike: (scene) => slowDown(scene),
  },
  {
    name: 'the answer to a COMMIT is lost',
    phases: ['post', 'claim', 'collect', 'settle'],
    async strike(scene) {
      const hits = linksOf(scene, /-postgres$/).map(async (link) => {
        const { connection } = await link.loseAnswerTo('COMMIT');
        scene.undoing();
        scene.proof('the answer to COMMIT was lost', { link: link.name, connection });
      });
      scene.goOn();
      // One private-api may have nothing to commit.
      await Promise.race([Promise.all(hits), scene.pause(5_000)]);
      await Promise.race([...hits, scene.pause(25_000)]);
    },
  },
  {
    name: 'the answer to the creation of a container never comes',
    phases: ['claim'],
    async strike(scene) {
      await neverAnswerCreation(scene, longerThanLeaseMs);
    },
  },
  {
    name: 'the answer to the creation of a container never comes, for longer than is waited for it',
    phases: ['claim'],
    async strike(scene) {
      await neverAnswerCreation(scene, longerThanCreationMs, (consumer) => {
        // For longer than it outlasts: its engine is lost to it.
        scene.excuseRestarts([consumer]);
      });
    },
  },
];

function linksOf({ world }: Scene, pattern: RegExp): Link[] {
  return [...world.links.values()].filter(({ name }) => pattern.test(name));
}

/** When there is none it waits for one. */
async function cutConnections(scene: Scene, links: readonly Link[]): Promise<void> {
  const { goOn, proof, undoing } = scene;
  const isCut = () => {
    const cut = links.map((link) => ({ link: link.name, connections: link.cut() }));
    const hit = cut.filter(({ connections }) => connections > 0);
    if (hit.length > 0) undoing();
    for (const one of hit) proof('cut', one);
    return hit.length > 0;
  };
  const isHit = isCut();
  goOn();
  if (!isHit) await waitUntil(isCut, { timeoutMs: 20_000, everyMs: 2 });
}

interface Harming {
  /** Whoever asks hears nothing for as long as it waits; otherwise a failure at once. */
  isSilent?: boolean;
  begin(link: Link): void;
  end(link: Link): void;
  /** By what the link has done since then. */
  isHit(harms: Harms): boolean;
}

/**
 * One of the links, or all of them, is harmed for shorter or longer than a lease, and until somebody has
 * noticed. Where that is nobody (the private-api that does not lead sends no tickets), all are.
 */
async function harm(
  scene: Scene,
  pattern: RegExp,
  { isSilent = false, begin, end, isHit }: Harming,
): Promise<void> {
  const { random, evidence, excuseLapses, excuseUnrenewed, goOn, pause, proof, undoing } = scene;
  const all = linksOf(scene, pattern);
  const first = random.chance(0.5) ? all : [random.pick(all)];
  const forMs = random.pick([1_500, longerThanLeaseMs]);
  const harmed = new Map<Link, Harms>();
  const begun = (links: readonly Link[]) => {
    if (forMs >= longerThanLeaseMs) {
      excuseLapses(cutOffBy(links));
      const isOfDatabase = links.some(({ name }) => name.endsWith('-postgres'));
      // Where no private-api has a way to it, no lease is ended.
      const isOfSome = isOfDatabase && links.length < all.length;
      if (isSilent && isOfSome) excuseUnrenewed(scene.world.consumers.map(({ name }) => name));
    }
    for (const link of links) {
      evidence('harmed', { link: link.name, connections: link.count(), forMs });
      harmed.set(link, link.harms());
      begin(link);
    }
  };
  const hits = () =>
    [...harmed]
      .map(([link, before]) => ({ link: link.name, ...difference(link.harms(), before) }))
      .filter(isHit);
  const noticed = (timeoutMs: number) => waitUntil(() => hits().length > 0, { timeoutMs });

  begun(first);
  goOn();
  await pause(forMs);
  if (!(await noticed(3_000))) {
    begun(all.filter((link) => !harmed.has(link)));
    await noticed(15_000);
  }
  undoing();
  const seen = hits();
  for (const link of harmed.keys()) end(link);
  for (const hit of seen) proof('harmed', hit);
}

/** The consumers whose leases may lapse. */
function cutOffBy(links: readonly Link[]): string[] {
  return links.flatMap(({ name }) => /^(job-consumer-.*)-private$/.exec(name)?.[1] ?? []);
}

function difference(now: Harms, before: Harms): Harms {
  return {
    cut: now.cut - before.cut,
    refused: now.refused - before.refused,
    held: now.held - before.held,
    delayed: now.delayed - before.delayed,
  };
}

/** In the head of a request that sends a zip or asks for one. */
const ofZips = /POST \/api\/tasks|(GET|PUT) \S+\/(input|output|model-files)|GET \/api\/tasks\//;

async function cutAtRandomBytes(scene: Scene): Promise<void> {
  const { random, evidence, proof, goOn, pause, undoing } = scene;
  const zips = /^(client-|public-api-.*-private|job-consumer-.*-private)/;
  const links = linksOf(scene, zips);
  const hits = links.map(async (link) => {
    const direction = random.pick(['there', 'back'] as const);
    // In a head, in a small zip, in a large one.
    const bytes = random.between(1, random.pick([400, 4_000, 60_000]));
    evidence('to be cut', { link: link.name, direction, bytes });
    const cut = await link.cutAfter(direction, bytes, ofZips);
    proof('cut', { ...cut, direction, after: bytes });
  });
  goOn();
  await pause(5_000);
  await Promise.race([...hits, pause(20_000)]);
  undoing();
  for (const link of links) link.heal();
}

async function slowDown({ world, random, ...scene }: Scene): Promise<void> {
  const { evidence, goOn, pause, proof, undoing } = scene;
  const before = new Map([...world.links.values()].map((link) => [link, link.harms().delayed]));
  for (const link of before.keys()) {
    const ms = random.between(20, 120);
    evidence('slow', { link: link.name, connections: link.count(), ms });
    link.delay(ms);
  }
  goOn();
  await pause(longerThanLeaseMs);
  undoing();
  for (const [link, delayed] of before) {
    const bytes = link.harms().delayed - delayed;
    if (bytes > 0) proof('delayed', { link: link.name, bytes });
    link.heal();
  }
}

async function neverAnswerCreation(
  scene: Scene,
  forMs: number,
  onHit: (consumer: string) => void = () => undefined,
): Promise<void> {
  const { goOn, pause, proof, undoing } = scene;
  const links = linksOf(scene, /-engine$/);
  const hits = links.map(async (link) => {
    const { connection } = await link.loseAnswerTo('/containers/create', 'forever');
    onHit(link.name.replace(/-engine$/, ''));
    proof('creation never answered', { link: link.name, connection });
  });
  goOn();
  await Promise.race([...hits, pause(20_000)]);
  await pause(forMs);
  undoing();
  for (const link of links) link.heal();
}
