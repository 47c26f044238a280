import Type from 'typebox';

/**
 * What somebody from outside may do; each role includes those before it. `submit`: use models, and see
 * what one has posted. `publish`: register models, and change one's own. `operate`: see and change what
 * anybody has posted or registered, and drain consumers. `admin`: keys, people, the audit.
 */
export const roles = ['submit', 'publish', 'operate', 'admin'] as const;
export type Role = (typeof roles)[number];

export const RoleName = Type.Enum([...roles], {
  description:
    'Each includes those before it: submit tasks, publish models, operate the server, admin its keys and people.',
});

export function includesRole(role: Role, needed: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(needed);
}

/** Whether everybody's tasks and models are this role's to see and to change. */
export function isForAllOwners(role: Role): boolean {
  return includesRole(role, 'operate');
}
