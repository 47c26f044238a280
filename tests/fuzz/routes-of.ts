import { allRoutes, publicRoutes, type RouteContract } from '@inference-server/contracts';
import type { RouteCase } from './route-draft.js';

/** What an API answers. Some of what public-api relays is answered by rpc-gateway. */
export function routesOf(app: RouteCase['app']): readonly RouteContract[] {
  if (app === 'public-api') return publicRoutes;
  return allRoutes.filter((contract: RouteContract) => contract.servedBy === undefined);
}
