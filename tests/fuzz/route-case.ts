import fc from 'fast-check';
import type { RouteContract } from '@inference-server/contracts';
import { often } from './often.js';
import { changesOf, type Change } from './route-changes.js';
import { draftOf, encode, utf8, type Draft, type RouteCase } from './route-draft.js';
import { routesOf } from './routes-of.js';
import { jsonOf } from './schema-values.js';

/** Cases of every route of both APIs, the more often the more there is to change in it. */
export const routeCase: fc.Arbitrary<RouteCase> = fc.oneof(
  ...routesOf('private-api').map((contract) => weighed('private-api', contract)),
  ...routesOf('public-api').map((contract) => weighed('public-api', contract)),
);

function weighed(app: RouteCase['app'], contract: RouteContract) {
  const weight = Math.ceil(changesOf(contract).length / 10);
  return { weight, arbitrary: caseOf(app, contract) };
}

function caseOf(app: RouteCase['app'], contract: RouteContract): fc.Arbitrary<RouteCase> {
  const changes = fc.oneof(...changesOf(contract));
  return fc
    .tuple(
      draftOf(app, contract),
      fc.oneof(
        often(2, fc.constant<Change[]>([])),
        often(6, fc.tuple(changes)),
        fc.array(changes, { minLength: 2, maxLength: 4 }),
      ),
    )
    .map(([draft, made]) => {
      for (const change of made) change(draft);
      return { app, contract, ...requestOf(contract, draft) };
    });
}

function requestOf(contract: RouteContract, draft: Draft): Omit<RouteCase, 'app' | 'contract'> {
  const { method, token, places, isElsewhere, isChunked } = draft;
  const path = contract.path.replace(
    /:(\w+)/g,
    (_all, name: string) => draft.params.get(name) ?? '',
  );
  const pairs = draft.query.map(([name, value]) => `${encode(name)}=${encode(value)}`);
  const query = [...pairs, ...draft.rawQuery].join('&');
  const target = `${path}${draft.suffix}${query === '' ? '' : `?${query}`}`;
  const hasBody = draft.body !== undefined;
  const headers: [string, string][] = [
    ...(hasBody && draft.bodyType !== ''
      ? [['content-type', draft.bodyType] as [string, string]]
      : []),
    ...draft.headers,
  ];
  return {
    method,
    token,
    places,
    isElsewhere,
    isChunked: hasBody && isChunked,
    target,
    headers,
    body: hasBody ? textOf(draft.body) : undefined,
  };
}

function textOf(body: unknown): string {
  return typeof body === 'string' ? body : utf8(jsonOf(body));
}
