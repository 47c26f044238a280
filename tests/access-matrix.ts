import {
  anonymousOwner,
  includesRole,
  isForAllOwners,
  type Role,
  type RouteContract,
} from '@inference-server/contracts';
import { leastRoles } from './least-roles.js';

/** Somebody who calls: what they show, whose their things are, what they may do. */
export interface Who {
  headers: Record<string, string>;
  owner: string;
  /** Undefined: what they show opens nothing. */
  role: Role | undefined;
  isToken?: boolean;
  /** Of a token that is for one model: which. */
  onlyModel?: string;
}

/** What a request names: something of the caller's own, of another's, or nothing that is there. */
export type Relation = 'own' | 'foreign' | 'missing';

/** What is expected of an answer: that it is this refusal, or none at all. */
export type Verdict = 'allowed' | 401 | 403 | 404 | 550 | 554;

/** The relations that a route can have to what it names. */
export function relationsOf({ object }: RouteContract): readonly Relation[] {
  switch (object) {
    case 'none':
      return ['own'];
    case 'task':
    case 'model':
      return ['own', 'foreign', 'missing'];
    default:
      return ['own', 'missing'];
  }
}

/** What is to be answered to somebody at the door. */
export function verdictAtDoor(route: RouteContract, who: Who, relation: Relation): Verdict {
  const { operationId } = route;
  const isAnonymous = who.owner === anonymousOwner;
  // For a key, or for name and password, which none of these sends.
  if (operationId === 'issueToken') {
    if (who.role === undefined || isAnonymous) return 401;
    return who.isToken === true ? 403 : 'allowed';
  }
  // They reach a task by its uid alone.
  if (operationId === 'listTasks' && isAnonymous) return 403;
  if (who.onlyModel !== undefined && leastRoleOf(route) !== 'open') {
    const isForOne = operationId === 'getModel' || isOfGateway(route);
    return isForOne && relation === 'own' ? 'allowed' : 403;
  }
  // Whether there is such a model the gateway knows alone.
  if (isOfGateway(route) && who.role !== undefined) return 'allowed';
  return verdictOn(route, who.role, relation);
}

/** A call of a model. */
function isOfGateway({ servedBy, object }: RouteContract): boolean {
  return servedBy === 'rpc-gateway' && object === 'model';
}

/**
 * "Who may do what" of the architecture, as a table: what a caller with this role (undefined: with none)
 * is to be answered. Which role a route needs is not taken from its contract.
 */
export function verdictOn(
  route: RouteContract,
  role: Role | undefined,
  relation: Relation,
): Verdict {
  const { object, operationId } = route;
  const access = leastRoleOf(route);
  if (access === 'open') return 'allowed';
  if (role === undefined) return 401;
  if (access === 'internal' || !includesRole(role, access)) return 403;
  if (object === 'task') {
    const isTheirs = relation === 'own' || (relation === 'foreign' && isForAllOwners(role));
    return isTheirs ? 'allowed' : 554;
  }
  if (object === 'model') {
    // A put makes what is missing.
    if (relation === 'missing') return operationId === 'putModel' ? 'allowed' : 550;
    const changes = access !== 'submit';
    return changes && relation === 'foreign' && !isForAllOwners(role) ? 403 : 'allowed';
  }
  if (relation === 'missing') return operationId === 'putUser' ? 'allowed' : 404;
  return 'allowed';
}

export function leastRoleOf({ operationId }: RouteContract): RouteContract['access'] {
  const least = new Map(Object.entries(leastRoles)).get(operationId);
  if (least === undefined) throw new Error(`tests/least-roles.ts does not name ${operationId}`);
  return least;
}

/** What the answer was, in the same words. What is right and allowed succeeds: anything else is told as it is. */
export function verdictOf(
  { operationId, servedBy }: RouteContract,
  status: number,
): 'allowed' | number {
  // Nothing is run here: an output is not there yet, no invocation is stored, and nobody is behind the door to calls.
  const isOfCalls = servedBy === 'rpc-gateway' || operationId === 'oipServerReady';
  const usual = isOfCalls ? 503 : 200;
  const succeeds = { getTask: 551, getInvocation: 404 }[operationId] ?? usual;
  return status === succeeds ? 'allowed' : status;
}
