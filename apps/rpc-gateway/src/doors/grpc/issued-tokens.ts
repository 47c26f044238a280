import { maxTokenLifeS, type CallerIdentity } from '@inference-server/contracts';

/** Kept at a time; the one that was made first goes. */
const most = 1_000;
/** Half of its life is left to the last that gets it. */
const givenForMs = (maxTokenLifeS * 1000) / 2;

export interface IssuedTokens {
  /** Asks for a token only where there is none yet. */
  get(caller: CallerIdentity, model: string, ask: () => Promise<string>): Promise<string>;
}

/**
 * One token for all streams of a key at a model: that they are good still is looked at token by token, more than
 * twice a second. Each caller has shown the key itself.
 */
export function createIssuedTokens(): IssuedTokens {
  const known = new Map<string, { at: number; token: string }>();
  return {
    async get({ credential, role }, model, ask) {
      const name = JSON.stringify([credential, role, model]);
      const before = known.get(name);
      if (before !== undefined && performance.now() - before.at < givenForMs) return before.token;
      const token = await ask();
      known.delete(name);
      if (known.size >= most) known.delete(known.keys().next().value ?? '');
      known.set(name, { at: performance.now(), token });
      return token;
    },
  };
}
