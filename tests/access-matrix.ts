import {
  includesRole,
  isForAllOwners,
  type Role,
  type RouteContract,
} from '@inference-server/contracts';

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

/**
 * "Who may do what" of the architecture, as a table: what a caller with this role (undefined: with none)
 * is to be answered. Which role a route needs is its contract's to say: that is not judged here, but that both
 * APIs keep to it, and whose things are whose.
 */
export function verdictOn(
  route: RouteContract,
  role: Role | undefined,
  relation: Relation,
): Verdict {
  const { access, object, operationId } = route;
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

/** What the answer was, in the same words. */
export function verdictOf(status: number): Verdict {
  const refusals: readonly number[] = [401, 403, 404, 550, 554];
  return refusals.includes(status) ? (status as Verdict) : 'allowed';
}
