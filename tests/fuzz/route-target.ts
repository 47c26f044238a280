import { openLane } from './http-lane.js';
import { faultOfAnswer } from './route-answer.js';
import { routeCase } from './route-case.js';
import { placesOf } from './route-changes.js';
import type { RouteCase } from './route-draft.js';
import { openScene, type RouteScene } from './route-scene.js';
import { routesOf } from './routes-of.js';
import { runCases, type FuzzRun } from './run-cases.js';
import { watchStrayErrors } from './stray-errors.js';

const atOnce = 24;
const caseTimeMs = 10_000;
/** A route that may hold its answer back is not waited for: its caller goes away. */
const heldTimeMs = 500;

/**
 * Sends requests of every route to both APIs, made from the contracts: usual ones, and such as have
 * something odd in one or more of their places. Each is answered in time, as its contract says, and
 * shows nothing that was sent; the servers stay well. `missed`: the places that no case has touched.
 * Throws with the seed, the case and what was wrong otherwise.
 */
export async function fuzzRoutes({
  cases,
  seed,
  onCase,
}: FuzzRun): Promise<{ accepted: number; missed: string[] }> {
  const strays = watchStrayErrors();
  const scene = await openScene();
  const lanes = Array.from({ length: atOnce }, () => ({
    'private-api': openLane(scene.ports['private-api']),
    'public-api': openLane(scene.ports['public-api']),
  }));
  const touched = new Set<string>();
  try {
    const counts = await runCases(
      routeCase,
      { cases, seed, onCase, atOnce, pause: { every: 3_000, work: scene.tidy } },
      async (made, at) => {
        const lane = lanes[at]![made.app];
        for (const place of made.places) touched.add(nameOf(made, place));
        const request = requestOf(made, scene);
        const isHeld = made.contract.heldForS !== undefined || made.isElsewhere || request.hasMore;
        const withinMs = isHeld ? heldTimeMs : caseTimeMs;
        const outcome = await lane.exchange(request, { withinMs });
        strays.throwAny();
        // Where such a request ends is not for us to say: that it ends is another test's.
        if (request.hasMore) return false;
        if (outcome === 'held') {
          if (!isHeld) throw new Error('no answer in time');
          return false;
        }
        if (outcome === 'closed' && mayBreak(made)) return false;
        if (outcome === 'closed') {
          throw new Error(`the connection was closed without an answer, after ${lane.earlier()}`);
        }
        const fault = faultOfAnswer(made, outcome, scene);
        if (fault !== undefined) {
          const said = outcome.body.toString('utf8').slice(0, 2_000);
          const logged = outcome.status === 500 ? (await scene.errorsLogged()).join('\n') : '';
          throw new Error(`${fault}: ${outcome.status} ${said}\n${logged}`);
        }
        const isTask = made.contract.operationId === 'postTask' && outcome.status === 200;
        if (isTask && made.method === 'POST') {
          const answer: unknown = JSON.parse(outcome.body.toString('utf8'));
          if (typeof answer === 'string') scene.posted(answer);
        }
        return outcome.status < 400;
      },
      (made) => show(made, scene),
    );
    for (const lane of lanes) await Promise.all(Object.values(lane).map((one) => one.close()));
    await scene.tidy();
    await scene.expectHealth();
    return { ...counts, missed: everyPlace().filter((place) => !touched.has(place)) };
  } finally {
    for (const lane of lanes) Object.values(lane).forEach((one) => one.drop());
    strays.stop();
  }
}

/** Every place of every route, at each API that has it. */
function everyPlace(): string[] {
  return (['private-api', 'public-api'] as const).flatMap((app) =>
    routesOf(app).flatMap((contract) =>
      placesOf(contract).map((place) => nameOf({ app, contract }, place)),
    ),
  );
}

function nameOf({ app, contract }: Pick<RouteCase, 'app' | 'contract'>, place: string): string {
  return `${app} ${contract.operationId} ${place}`;
}

function requestOf(made: RouteCase, scene: RouteScene) {
  const { method, target, headers, isChunked } = made;
  const bearer = scene.bearerOf(made);
  const body = made.body === undefined ? undefined : latin1(scene.fill(made.body));
  const hasMore = hasHeader(made, ['content-length', 'transfer-encoding', 'bad name']);
  const framing = isChunked ? 'transfer-encoding: chunked' : `content-length: ${body?.length ?? 0}`;
  const lines = [
    `${method} ${scene.fill(target)} HTTP/1.1`,
    `host: 127.0.0.1:${scene.ports[made.app]}`,
    ...(bearer === undefined ? [] : [`authorization: Bearer ${bearer}`]),
    ...headers.map(([name, value]) => `${name}: ${scene.fill(value)}`),
    ...(body === undefined ? [] : [framing]),
  ];
  const content = body ?? Buffer.alloc(0);
  const chunks = [latin1(`${content.length.toString(16)}\r\n`), content, latin1('\r\n')];
  const end = latin1('0\r\n\r\n');
  const pieces = isChunked ? [...(content.length > 0 ? chunks : []), end] : [content];
  return { pieces: [latin1(`${lines.join('\r\n')}\r\n\r\n`), ...pieces], method, hasMore };
}

/**
 * Refused for its head alone, without a 100 that we had not waited for, or with a body that goes on
 * behind the end: the connection may be closed before we have read why.
 */
function mayBreak(made: RouteCase): boolean {
  const isLong = (made.body?.length ?? 0) > 65_536;
  return hasHeader(made, ['expect']) || (isLong && made.places.includes('header'));
}

function hasHeader({ headers }: RouteCase, names: readonly string[]): boolean {
  return headers.some(([name]) => names.includes(name));
}

function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function show({ contract, ...made }: RouteCase, scene: RouteScene): string {
  const text = JSON.stringify({ route: contract.operationId, ...made });
  return scene
    .fill(text)
    .replaceAll(/(.)\1{20,}/g, '$1…$1')
    .slice(0, 4_000);
}
